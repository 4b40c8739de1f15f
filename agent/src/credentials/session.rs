//! What is asked of AWS for a pod. Pure.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::callers::pods::{PodUid, ProjectedToken};
use crate::roles::RoleArn;

/// Every input of a session, and so the key by which sessions are kept: two pods share one only if
/// AWS could not tell them apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionRequest {
    /// Source `sts`.
    AssumeRole(Box<AssumeRoleRequest>),
    /// Source `web-identity`.
    WebIdentity(Box<WebIdentityRequest>),
    /// Source `eks-pod-identity`.
    PodIdentity(Box<PodIdentityRequest>),
}

/// AssumeRole with the agent's own identity, and maybe a second one from there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AssumeRoleRequest {
    /// The role to assume with the agent's own identity.
    pub role: RoleArn,
    /// The role to assume with that session then.
    pub target: Option<RoleArn>,
    /// `RoleSessionName`, of both calls.
    pub name: Box<str>,
    /// `Tags`, in the order in which they are sent.
    pub tags: Vec<Tag>,
    /// Whether all tags are named in `TransitiveTagKeys`.
    pub transitive: bool,
    /// Whether it is asked for once more without tags where STS answers `AccessDenied`.
    pub untagged_fallback: bool,
    /// `ExternalId`, of the last call.
    pub external_id: Option<Box<str>>,
    /// `DurationSeconds`, of the last call.
    pub duration: Duration,
    /// `Policy`, of the last call.
    pub policy: Option<Box<str>>,
}

/// `AssumeRoleWithWebIdentity` with a pod's own token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WebIdentityRequest {
    /// Whose token.
    pub pod: TokenOwner,
    /// The role to assume.
    pub role: RoleArn,
    /// `RoleSessionName`
    pub name: Box<str>,
    /// `DurationSeconds`
    pub duration: Duration,
}

/// `AssumeRoleForPodIdentity` with a pod's own token.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodIdentityRequest {
    /// Whose token.
    pub pod: TokenOwner,
    /// `clusterName`
    pub cluster_name: Box<str>,
}

/// The pod that a ServiceAccount token is bound to, and where kubelet keeps it, if it does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenOwner {
    /// The pod.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its ServiceAccount.
    pub service_account: Box<str>,
    /// Who the token is for.
    pub audience: Box<str>,
    /// The volume whose token is for that audience.
    pub mounted: Option<ProjectedToken>,
}

/// A session tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    pub key: Box<str>,
    /// Its value.
    pub value: Box<str>,
}

/// For logs: how, the role, and the session's name.
impl fmt::Display for SessionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssumeRole(request) => {
                write!(f, "AssumeRole {} as {}", request.role, request.name)
            }
            Self::WebIdentity(request) => {
                write!(f, "AssumeRoleWithWebIdentity {} as {}", request.role, request.name)
            }
            Self::PodIdentity(request) => {
                let TokenOwner { namespace, name, .. } = &request.pod;
                write!(f, "AssumeRoleForPodIdentity for {namespace}/{name}")
            }
        }
    }
}

impl SessionRequest {
    /// The role that is asked for; EKS alone knows that of a Pod Identity association.
    #[must_use]
    pub fn role(&self) -> Option<&RoleArn> {
        match self {
            Self::AssumeRole(request) => Some(request.target.as_ref().unwrap_or(&request.role)),
            Self::WebIdentity(request) => Some(&request.role),
            Self::PodIdentity(_) => None,
        }
    }
}

impl SessionRequest {
    /// `RoleSessionName`; EKS chooses that of a Pod Identity session.
    #[must_use]
    pub fn session_name(&self) -> Option<&str> {
        match self {
            Self::AssumeRole(request) => Some(&request.name),
            Self::WebIdentity(request) => Some(&request.name),
            Self::PodIdentity(_) => None,
        }
    }
}

#[cfg(test)]
impl SessionRequest {
    /// A session called `name`, of an hour.
    pub(crate) fn fixture(name: &str) -> Self {
        let role = "arn:aws:iam::123456789012:role/web".parse().unwrap();
        Self::AssumeRole(Box::new(AssumeRoleRequest {
            role,
            target: None,
            name: name.into(),
            tags: Vec::new(),
            transitive: false,
            untagged_fallback: false,
            external_id: None,
            duration: Duration::from_hours(1),
            policy: None,
        }))
    }

    /// What [`Self::fixture`] was called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::AssumeRole(request) => &request.name,
            Self::WebIdentity(request) => &request.name,
            Self::PodIdentity(request) => &request.pod.name,
        }
    }
}
