//! The flags that say how pods are told apart.

use clap::Args;

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
}

/// How pods are told apart.
#[derive(Clone, Debug)]
pub struct CallerSettings {
    /// By what.
    pub identity: IdentityMode,
}

pub(super) fn check(arguments: CallerArguments, check: &mut Checker) -> CallerSettings {
    let CallerArguments { identity } = arguments;
    CallerSettings { identity: check.require("--identity", parse(&identity)) }
}

fn parse(identity: &str) -> Result<IdentityMode, String> {
    match identity {
        "kernel" => Ok(IdentityMode::Kernel),
        "source-ip" => Ok(IdentityMode::SourceIp),
        _ => Err(format!("{identity:?} is unknown; write `kernel` or `source-ip`")),
    }
}
