//! What a decision rests on beside the pod: the objects that the API server tells of, as far as they
//! are known now. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::annotations::Keys;
use super::arn::BaseRoleArn;
use super::associations::Association;
use super::mode::MODE_LABEL;
use super::restrictions::NamespacePolicy;

/// The Namespace annotation that takes IMDSv1 from its pods; on a pod, from that pod.
pub const IMDS_V1_ANNOTATION: &str = "podrole.dev/imds-v1";
/// The Namespace label that takes every path but the role's from its pods.
pub const METADATA_LABEL: &str = "podrole.dev/metadata";

/// What is known of an object. A watch that fails is not absence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// Nobody has told yet, and this says why.
    NotYet(Missing),
    /// There is none.
    Absent,
    /// This is what it says.
    There(T),
}

/// What is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The `RoleAssociation`s of the pod's namespace.
    RoleAssociations,
    /// The pod's Namespace.
    Namespace,
    /// The pod's `ServiceAccount`.
    ServiceAccount,
    /// The account and partition of the agent's own identity, for `--base-role-arn=auto`.
    OwnIdentity,
}

/// Why something is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The first answer is still to come.
    Unanswered,
    /// The API server refuses to tell: RBAC.
    Forbidden,
    /// The API server gives errors.
    Failing,
    /// The API server refuses to tell whoever runs `podrole explain` away from the node.
    Withheld,
}

/// What is not known, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub subject: Subject,
    /// Why.
    pub cause: Cause,
}

/// What is kept of a Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Which roles its pods may ask for.
    pub policy: NamespacePolicy,
    /// Of its labels, those that session tags are made of and those of podrole's own.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// Whether its pods may not use `IMDSv1`: its annotation `podrole.dev/imds-v1` is `deny`.
    pub denies_imds_v1: bool,
    /// The annotations that this was read from, as they are written down (`roles/lookups/remembered.rs`).
    pub annotations: BTreeMap<Box<str>, Box<str>>,
}

impl Namespace {
    /// What `annotations` and `labels` say; both hold what counts, and nothing else.
    #[must_use]
    pub fn read(
        keys: &Keys,
        annotations: BTreeMap<Box<str>, Box<str>>,
        labels: BTreeMap<Box<str>, Box<str>>,
    ) -> Self {
        let annotation = |key: &str| annotations.get(key).map(AsRef::as_ref);
        Self {
            policy: NamespacePolicy::read(
                annotation(&keys.permitted),
                annotation(&keys.allowed_roles),
            ),
            labels,
            denies_imds_v1: annotation(IMDS_V1_ANNOTATION) == Some("deny"),
            annotations,
        }
    }

    /// What its label `podrole.dev/mode` says.
    #[must_use]
    pub fn mode(&self) -> Option<&str> {
        self.labels.get(MODE_LABEL).map(AsRef::as_ref)
    }

    /// Whether its pods may read nothing but their role: its label `podrole.dev/metadata` is `none`.
    #[must_use]
    pub fn denies_metadata(&self) -> bool {
        self.labels.get(METADATA_LABEL).is_some_and(|value| &**value == "none")
    }
}

/// What is kept of a `ServiceAccount`: the annotations of IAM roles for service accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// `eks.amazonaws.com/role-arn`
    pub role: Option<Box<str>>,
    /// `eks.amazonaws.com/audience`: who its pods' tokens are for.
    pub audience: Option<Box<str>>,
}

/// All that is known for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The `RoleAssociation` that applies to the pod.
    pub association: Known<Arc<Association>>,
    /// The pod's Namespace.
    pub namespace: Known<Arc<Namespace>>,
    /// The pod's `ServiceAccount`.
    pub service_account: Known<Arc<ServiceAccount>>,
    /// The base of bare names by the agent's own identity, for `--base-role-arn=auto`.
    pub own_base: Option<BaseRoleArn>,
}

impl Facts {
    /// Nothing is known yet.
    #[must_use]
    pub fn unanswered() -> Self {
        Self {
            association: Known::unanswered(Subject::RoleAssociations),
            namespace: Known::unanswered(Subject::Namespace),
            service_account: Known::unanswered(Subject::ServiceAccount),
            own_base: None,
        }
    }
}

impl<T> Known<T> {
    /// The first answer is still to come.
    #[must_use]
    pub const fn unanswered(subject: Subject) -> Self {
        Self::NotYet(Missing { subject, cause: Cause::Unanswered })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoleAssociations => "the RoleAssociations of the pod's namespace",
            Self::Namespace => "the pod's Namespace",
            Self::ServiceAccount => "the pod's ServiceAccount",
            Self::OwnIdentity => "the AWS account of the agent's own identity",
        })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, cause } = self;
        match cause {
            Cause::Unanswered => write!(f, "{subject} cannot be told yet"),
            Cause::Forbidden => {
                write!(
                    f,
                    "{subject} cannot be told: podrole's ClusterRole must allow list and watch"
                )
            }
            Cause::Withheld => {
                write!(f, "{subject} cannot be told: you have no right to read it")
            }
            Cause::Failing => write!(f, "{subject} cannot be told: the API server gives errors"),
        }
    }
}
