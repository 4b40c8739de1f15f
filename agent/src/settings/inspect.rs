//! The flags of the commands that look at a running agent.

use std::path::PathBuf;

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

/// The flags of `podrole ready` and `podrole status`.
#[derive(Clone, Debug, Args)]
pub struct InspectArguments {
    /// Where the agent listens.
    #[command(flatten)]
    pub socket: SocketArguments,

    /// How the answer looks.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// The flags of `podrole check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArguments {
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
