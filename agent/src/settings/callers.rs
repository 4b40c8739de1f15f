//! The flags that say how pods are told apart.

use clap::Args;

use crate::callers::host_network::Exempt;

use super::Checker;

/// By what pods are told apart (`--identity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityMode {
    /// The kernel's word.
    #[default]
    Kernel,
    /// The source address alone.
    SourceIp,
}

/// The flags that say how pods are told apart, as they are written.
#[derive(Clone, Debug, Args)]
pub struct CallerArguments {
    /// How pods are told apart: `kernel`, by whose socket the kernel saw connect; or `source-ip`, by
    /// the source address alone, for nodes where the kernel cannot say
    #[arg(long, env = "PODROLE_IDENTITY", default_value = "kernel", value_name = "MODE")]
    pub identity: String,

    /// Which hostNetwork pods are the node in any case; `*` stands for any name
    #[arg(
        long,
        env = "PODROLE_HOST_NETWORK_EXEMPT",
        value_delimiter = ',',
        default_value = "kube-system/*",
        value_name = "NAMESPACE/SERVICEACCOUNT"
    )]
    pub host_network_exempt: Vec<String>,
}

/// How pods are told apart.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// By what.
    pub identity: IdentityMode,
    /// Which hostNetwork pods are the node in any case.
    pub host_network_exempt: Vec<Exempt>,
}

pub(super) fn check(arguments: CallerArguments, check: &mut Checker) -> CallerSettings {
    let CallerArguments { identity, host_network_exempt } = arguments;
    CallerSettings {
        identity: check.require("--identity", parse(&identity)),
        host_network_exempt: check.require("--host-network-exempt", exempt(&host_network_exempt)),
    }
}

fn exempt(given: &[String]) -> Result<Vec<Exempt>, String> {
    // An empty value leaves nobody out.
    given.iter().filter(|text| !text.is_empty()).map(|text| text.parse()).collect()
}

fn parse(identity: &str) -> Result<IdentityMode, String> {
    match identity {
        "kernel" => Ok(IdentityMode::Kernel),
        "source-ip" => Ok(IdentityMode::SourceIp),
        _ => Err(format!("{identity:?} is unknown; write `kernel` or `source-ip`")),
    }
}
