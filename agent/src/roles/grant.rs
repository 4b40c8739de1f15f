//! What a rule grants: a role, and the one way to its credentials.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::arn::RoleArn;

/// A way to say which role a pod has, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A `RoleAssociation` of the pod's namespace and ServiceAccount.
    RoleAssociation,
    /// The pod's annotation, as for kube2iam and kiam.
    PodAnnotation,
    /// An EKS Pod Identity association: the pod carries that webhook's token.
    PodIdentity,
    /// The ServiceAccount's annotation, as for IAM roles for service accounts.
    ServiceAccountAnnotation,
    /// `--default-role`
    DefaultRole,
}

impl Rule {
    /// All, in the order in which they are asked.
    pub const ALL: [Self; 5] = [
        Self::RoleAssociation,
        Self::PodAnnotation,
        Self::PodIdentity,
        Self::ServiceAccountAnnotation,
        Self::DefaultRole,
    ];

    /// How its credentials are got.
    #[must_use]
    pub fn source(self) -> SourceName {
        match self {
            Self::RoleAssociation | Self::PodAnnotation | Self::DefaultRole => SourceName::Sts,
            Self::PodIdentity => SourceName::EksPodIdentity,
            Self::ServiceAccountAnnotation => SourceName::WebIdentity,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoleAssociation => "RoleAssociation",
            Self::PodAnnotation => "pod annotation",
            Self::PodIdentity => "EKS Pod Identity",
            Self::ServiceAccountAnnotation => "ServiceAccount annotation",
            Self::DefaultRole => "default role",
        })
    }
}

/// A source of credentials, as `--sources` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceName {
    /// AssumeRole with the agent's own identity.
    Sts,
    /// `AssumeRoleWithWebIdentity` with the pod's own token.
    WebIdentity,
    /// `AssumeRoleForPodIdentity` with the pod's own token.
    EksPodIdentity,
}

impl SourceName {
    /// All.
    pub const ALL: [Self; 3] = [Self::Sts, Self::WebIdentity, Self::EksPodIdentity];
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sts => "sts",
            Self::WebIdentity => "web-identity",
            Self::EksPodIdentity => "eks-pod-identity",
        })
    }
}

/// A role for a pod. The way to its credentials follows from the rule, never from another's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// What says so.
    pub rule: Rule,
    /// How its credentials are got.
    pub way: Way,
}

/// How credentials are got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "kebab-case")]
pub enum Way {
    /// AssumeRole with the agent's own identity (source `sts`).
    #[serde(rename = "sts")]
    AssumeRole(Box<AssumeRole>),
    /// `AssumeRoleWithWebIdentity` with the pod's own token (source `web-identity`).
    WebIdentity {
        /// The role to assume.
        role: RoleArn,
        /// Who the token is for, where the ServiceAccount says it (`eks.amazonaws.com/audience`).
        #[serde(skip_serializing_if = "Option::is_none")]
        audience: Option<Box<str>>,
    },
    /// `AssumeRoleForPodIdentity` with the pod's own token (source `eks-pod-identity`). EKS knows the
    /// role; podrole learns it from the answer.
    #[serde(rename = "eks-pod-identity")]
    PodIdentity,
}

/// What is to be asked of AssumeRole, as far as the rule says it; the agent's flags say the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// The role to assume, with the agent's own identity.
    pub role: RoleArn,
    /// The role to assume then, with that session: the pod's role is this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<RoleArn>,
    /// `ExternalId` of the last call: of the target's, if there is a target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Box<str>>,
    /// What the pod wants its session to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<Box<str>>,
    /// Session tags beside those that the flags say.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Whether the flags' session tags are left out.
    pub untagged: bool,
    /// Whether tags are transitive, if the rule says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transitive: Option<bool>,
    /// How long the session is to last, if the rule says it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub duration: Option<Duration>,
    /// The session policy (JSON), if the rule has one; of the last call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Box<str>>,
}

#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn seconds<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs()).serialize(serializer)
}

impl AssumeRole {
    /// `role`, and all else as the flags say.
    #[must_use]
    pub fn plain(role: RoleArn) -> Self {
        Self {
            role,
            target: None,
            external_id: None,
            session_name: None,
            tags: Vec::new(),
            untagged: false,
            transitive: None,
            duration: None,
            policy: None,
        }
    }
}

impl Grant {
    /// The role that the pod has; unknown before EKS has answered.
    #[must_use]
    pub fn role(&self) -> Option<&RoleArn> {
        match &self.way {
            Way::AssumeRole(call) => Some(call.target.as_ref().unwrap_or(&call.role)),
            Way::WebIdentity { role, .. } => Some(role),
            Way::PodIdentity => None,
        }
    }
}
