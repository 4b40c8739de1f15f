//! What podrole does with pods: of the cluster, of a node, of a namespace. Pure.
//!
//! A Node's label stands before the flag, and a Namespace's can only be stricter. What cannot be read
//! counts as the strictest.

use std::fmt;
use std::str::FromStr;

/// The label of Nodes and Namespaces.
pub const MODE_LABEL: &str = "podrole.dev/mode";

/// What is done, the least strict first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Nothing: the programs are removed.
    Off,
    /// The programs count and let everything go on.
    Audit,
    /// Pods are redirected and guarded.
    #[default]
    Enforce,
}

/// A mode, and what was said in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The mode that holds.
    pub mode: Mode,
    /// What is wrong with what was said, and what holds instead.
    pub doubt: Option<String>,
}

impl Mode {
    /// What holds on a node, by the flag and its label.
    #[must_use]
    pub fn of_node(flag: Self, label: Option<&str>) -> Said {
        match label.map(read) {
            None => Said { mode: flag, doubt: None },
            Some(Ok(mode)) => Said { mode, doubt: None },
            Some(Err(text)) => Said {
                mode: Self::Enforce,
                doubt: Some(format!(
                    "the label {MODE_LABEL}={text:?} of this Node is none of enforce, audit and off: pods are enforced until it is"
                )),
            },
        }
    }

    /// What holds for the pods of a namespace on a node of this mode. `audited` says whether the cluster's
    /// operator keeps it in audit (`--audit-namespaces`).
    #[must_use]
    pub fn of_namespace(self, name: &str, audited: bool, label: Option<&str>) -> Said {
        let without = if audited { self.min(Self::Audit) } else { self };
        // Without programs there is nothing to be stricter by.
        let (Some(label), true) = (label, self != Self::Off) else {
            return Said { mode: without, doubt: None };
        };
        match read(label) {
            Ok(mode) if mode >= without => Said { mode, doubt: None },
            Ok(mode) => Said {
                mode: without,
                doubt: Some(format!(
                    "the label {MODE_LABEL}={mode} of the Namespace {name} would loosen what holds, which a Namespace cannot: it stays {without} (--audit-namespaces can)"
                )),
            },
            Err(text) => Said {
                mode: Self::Enforce,
                doubt: Some(format!(
                    "the label {MODE_LABEL}={text:?} of the Namespace {name} is neither enforce nor audit: its pods are enforced until it is"
                )),
            },
        }
    }
}

/// As a label has it: `RoleAssociation`s write `Audit`.
fn read(label: &str) -> Result<Mode, &str> {
    label.to_ascii_lowercase().parse().map_err(|_| label)
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "enforce" => Ok(Self::Enforce),
            "audit" => Ok(Self::Audit),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text:?} is unknown; write `enforce`, `audit` or `off`")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_label_stands_before_the_flag_and_a_slip_is_enforced() {
        use Mode::{Audit, Enforce, Off};
        for (flag, label, holds, is_doubted) in [
            (Enforce, None, Enforce, false),
            (Audit, None, Audit, false),
            (Enforce, Some("audit"), Audit, false),
            (Enforce, Some("Off"), Off, false),
            (Off, Some("enforce"), Enforce, false),
            (Audit, Some("enforced"), Enforce, true),
            (Off, Some(""), Enforce, true),
        ] {
            let Said { mode, doubt } = Mode::of_node(flag, label);
            assert_eq!((mode, doubt.is_some()), (holds, is_doubted), "{flag} {label:?}");
        }
    }

    #[test]
    fn a_namespaces_label_only_makes_stricter() {
        use Mode::{Audit, Enforce, Off};
        for (node, audited, label, holds, is_doubted) in [
            (Enforce, false, None, Enforce, false),
            (Enforce, true, None, Audit, false),
            (Audit, true, None, Audit, false),
            (Enforce, true, Some("enforce"), Enforce, false),
            (Enforce, false, Some("audit"), Enforce, true),
            (Enforce, true, Some("audit"), Audit, false),
            (Enforce, true, Some("off"), Audit, true),
            (Audit, false, Some("enforce"), Enforce, false),
            (Audit, false, Some("Audit"), Audit, false),
            (Audit, false, Some("off"), Audit, true),
            (Audit, false, Some("on"), Enforce, true),
            (Off, false, Some("enforce"), Off, false),
            (Off, true, None, Off, false),
        ] {
            let Said { mode, doubt } = node.of_namespace("shop", audited, label);
            assert_eq!((mode, doubt.is_some()), (holds, is_doubted), "{node} {audited} {label:?}");
        }
    }
}
