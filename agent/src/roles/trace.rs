//! The decision as it was reached: what each rule said, in order. `decide` is the end of it.

use std::fmt;

use serde::{Serialize, Serializer};

use super::facts::Missing;
use super::grant::{Grant, Rule, SourceName};
use super::refusal::Refusal;
use super::restrictions::Permit;

/// What the rules say of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
pub enum Decision {
    /// It has a role.
    Granted(Grant),
    /// No rule applies: it has none.
    None,
    /// A rule applies and gives it none.
    Refused(Refusal),
    /// What a rule needs to know is not there yet.
    NotYet(Missing),
}

/// How a decision was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Each rule, in the order in which they are asked.
    pub steps: Vec<Step>,
    /// What came of it.
    pub decision: Decision,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// What it said.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a rule says. Only [`Self::Absent`] and [`Self::Audited`] let the next be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "kebab-case")]
pub enum Verdict {
    /// It does not apply.
    Absent(Absence),
    /// It would give this, were it not in mode `Audit`.
    Audited(Grant),
    /// It gives this.
    Granted {
        /// What.
        grant: Grant,
        /// What the namespace policy says, where it is asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        permit: Option<Permit>,
    },
    /// It applies and gives nothing.
    Refused(Refusal),
    /// Whether it applies is not known.
    NotYet(Missing),
    /// An earlier rule has decided.
    NotAsked,
}

/// Why a rule does not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Its source is not in `--sources`.
    NoSource(SourceName),
    /// The pod lives in the node's network namespace, where only the first two rules count.
    HostNetwork,
    /// No association names the pod's namespace and ServiceAccount.
    NoAssociation,
    /// The pod has no such annotation.
    NoPodAnnotation,
    /// The pod has no token of EKS Pod Identity.
    NoPodIdentityToken,
    /// The pod has no token that STS would take.
    NoWebIdentityToken,
    /// The ServiceAccount has no such annotation.
    NoServiceAccountAnnotation,
    /// There is no `--default-role`.
    NoDefaultRole,
}

impl Verdict {
    /// The decision that this verdict is, if it ends the search.
    #[must_use]
    pub fn decision(self) -> Option<Decision> {
        match self {
            Self::Absent(_) | Self::Audited(_) | Self::NotAsked => None,
            Self::Granted { grant, .. } => Some(Decision::Granted(grant)),
            Self::Refused(refusal) => Some(Decision::Refused(refusal)),
            Self::NotYet(missing) => Some(Decision::NotYet(missing)),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource(source) => write!(f, "does not exist: {source} is not in --sources"),
            Self::HostNetwork => f.write_str("does not count for pods with hostNetwork"),
            Self::NoAssociation => {
                f.write_str("none names the pod's namespace and ServiceAccount")
            }
            Self::NoPodAnnotation => f.write_str("the pod has none"),
            Self::NoPodIdentityToken => {
                f.write_str("the pod has no volume eks-pod-identity-token, which EKS adds when it is made")
            }
            Self::NoWebIdentityToken => f.write_str(
                "the pod has no token for AWS STS, which the webhook of IAM roles for service accounts adds when it is made",
            ),
            Self::NoServiceAccountAnnotation => {
                f.write_str("the pod's ServiceAccount has no eks.amazonaws.com/role-arn")
            }
            Self::NoDefaultRole => f.write_str("there is no --default-role"),
        }
    }
}

impl Serialize for Absence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = |grant: &Grant| {
            grant.role().map_or("the role that EKS says".into(), ToString::to_string)
        };
        match self {
            Self::Absent(absence) => absence.fmt(f),
            Self::Audited(grant) => write!(f, "would give {} (mode: Audit)", role(grant)),
            Self::Granted { grant, permit: None } => write!(f, "gives {}", role(grant)),
            Self::Granted { grant, permit: Some(permit) } => {
                write!(f, "gives {} ({permit})", role(grant))
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::NotYet(missing) => missing.fmt(f),
            Self::NotAsked => f.write_str("not asked: an earlier rule has decided"),
        }
    }
}
