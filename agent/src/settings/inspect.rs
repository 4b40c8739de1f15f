//! The flags of the commands that look at a running agent.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::arguments::KernelArguments;

/// Where the agent listens for the commands, as both of them have it.
#[derive(Clone, Debug, Args)]
pub struct SocketArguments {
    /// Where the agent answers `podrole ready`, `status` and `explain`
    #[arg(
        long,
        env = "PODROLE_SOCKET",
        default_value = "/run/podrole/agent.sock",
        value_name = "FILE"
    )]
    pub socket: PathBuf,
}

/// How a command says what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct OutputArguments {
    /// For people, or for programs
    #[arg(long, env = "PODROLE_OUTPUT", value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
}

/// How a command's answer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The flags of `podrole ready`, which every command has that asks this node's agent.
#[derive(Clone, Debug, Args)]
pub struct InspectArguments {
    /// Where the agent of this node listens.
    #[command(flatten)]
    pub socket: SocketArguments,

    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// The flags of `podrole status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Show it again every so many seconds, in place, until Ctrl-C; without a number, every 2
    #[arg(
        long,
        env = "PODROLE_WATCH",
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub watch: Option<u64>,

    /// As of every command that asks the agent.
    #[command(flatten)]
    pub inspect: InspectArguments,
}

/// The flags of `podrole check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
    /// Go this pod's way to the metadata service instead, from inside of its network, and say where
    /// it ends
    #[arg(long, env = "PODROLE_POD", value_name = "NAMESPACE/POD")]
    pub pod: Option<String>,

    /// How the kernel's part would be done.
    #[command(flatten)]
    pub kernel: KernelArguments,

    /// Where an agent would listen.
    #[command(flatten)]
    pub socket: SocketArguments,

    /// How the findings look.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// Where the agents of other nodes are.
#[derive(Clone, Debug, Args)]
pub struct AgentsArguments {
    /// Where the agents' pods are, for what is on other nodes than this
    #[arg(
        long,
        env = "PODROLE_AGENT_NAMESPACE",
        default_value = "podrole",
        value_name = "NAMESPACE"
    )]
    pub agent_namespace: String,
}

/// The flags of `podrole explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArguments {
    /// Which pod
    #[arg(value_name = "NAMESPACE/POD")]
    pub pod: PodName,

    /// Where the agent of the pod's node is, if that is another than this.
    #[command(flatten)]
    pub agents: AgentsArguments,

    /// Ask the agent of this node and no other: whoever asks has chosen the node
    #[arg(long, env = "PODROLE_ON_NODE", hide = true)]
    pub on_node: bool,

    /// As of every command that asks the agent.
    #[command(flatten)]
    pub inspect: InspectArguments,
}

/// The flags of `podrole report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArguments {
    /// Where the agents are.
    #[command(flatten)]
    pub agents: AgentsArguments,

    /// Have the roles tried once more that AWS refused; else each is tried once an hour
    #[arg(long, env = "PODROLE_AGAIN")]
    pub again: bool,

    /// Ask the agent of this node alone
    #[arg(long, env = "PODROLE_ON_NODE")]
    pub on_node: bool,

    /// As of every command that asks the agent.
    #[command(flatten)]
    pub inspect: InspectArguments,
}

/// A pod, as `NAMESPACE/POD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for PodName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let is_name = |name: &str| (1..=253).contains(&name.len()) && name.chars().all(allowed);
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err("write NAMESPACE/POD, such as shop/web-0"),
        }
    }
}
