//! The flags that say what is done with pods at all.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;

use crate::roles::Mode;

use super::Checker;

/// The flags that say what is done with pods at all, as they are written.
#[derive(Clone, Debug, Args)]
pub struct ModeArguments {
    /// `enforce`; `audit`: the programs count and note what pods ask for, and everything goes on as without
    /// podrole; `off`: the programs are removed and the agent idles. The Node's label podrole.dev/mode stands
    /// before it, and a Namespace's can only be stricter
    #[arg(long, env = "PODROLE_MODE", default_value = "enforce", value_name = "MODE")]
    pub mode: String,

    /// Namespaces that stay in audit while the others are enforced
    #[arg(long, env = "PODROLE_AUDIT_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    pub audit_namespaces: Vec<String>,

    /// Over so many seconds the first trials of the roles of pods in audit are spread
    #[arg(
        long,
        env = "PODROLE_TRIAL_SPREAD",
        default_value_t = 60,
        value_name = "SECONDS",
        hide = true
    )]
    pub trial_spread: u64,
}

/// What is done with pods at all.
#[derive(Clone, Debug)]
pub struct ModeSettings {
    /// Where no label says something else.
    pub mode: Mode,
    /// Namespaces that stay in audit.
    pub audit_namespaces: HashSet<Box<str>>,
    /// Over how long the first trials of roles are spread.
    pub trial_spread: Duration,
}

pub(super) fn check(arguments: ModeArguments, check: &mut Checker) -> ModeSettings {
    let ModeArguments { mode, audit_namespaces, trial_spread } = arguments;
    ModeSettings {
        mode: check.require("--mode", mode.parse()),
        audit_namespaces: check.require("--audit-namespaces", namespaces(audit_namespaces)),
        trial_spread: Duration::from_secs(trial_spread),
    }
}

/// RFC 1123 labels (Kubernetes documentation, "Namespaces"). An empty value names none.
fn namespaces(given: Vec<String>) -> Result<HashSet<Box<str>>, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let check = |name: String| {
        let is_name = (1..=63).contains(&name.len()) && name.chars().all(allowed);
        is_name.then(|| name.as_str().into()).ok_or_else(|| {
            format!("{name:?} is the name of no namespace; there is no wildcard, --mode=audit is for all")
        })
    };
    given.into_iter().filter(|name| !name.is_empty()).map(check).collect()
}
