//! How a pod's session is asked for: its name, its tags, its limits. Pure.
//!
//! What AWS would refuse is refused here, with a message; nothing that a policy may be about is ever cut
//! to fit.

mod limits;
mod name;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::callers::pods::{Pod, ProjectedToken};
use crate::roles::tags::{self, TagError};
use crate::roles::{AssumeRole, Grant, RoleArn, Way};

use self::name::session_name;
use super::session::{
    AssumeRoleRequest, PodIdentityRequest, SessionRequest, Tag, TokenOwner, WebIdentityRequest,
};

/// Who a token for `AssumeRoleWithWebIdentity` is for.
const STS_AUDIENCE: &str = "sts.amazonaws.com";
/// Who a token for `AssumeRoleForPodIdentity` is for.
const POD_IDENTITY_AUDIENCE: &str = "pods.eks.amazonaws.com";
/// The most that STS gives a session that was assumed from another (IAM User Guide, "Role chaining").
const CHAINED: Duration = Duration::from_hours(1);

/// Which session tags are sent (`--session-tags`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTags {
    /// All six keys of EKS Pod Identity.
    Pod,
    /// All but the pod's name and UID, so that a workload's pods share a session.
    Workload,
    /// None.
    None,
}

/// The ARN of an EKS cluster: `arn:PARTITION:eks:REGION:ACCOUNT:cluster/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterArn {
    arn: Box<str>,
    /// `REGION/ACCOUNT/NAME`
    place: Box<str>,
}

/// How a pod's session is asked for: the same for every pod of the node.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// Which tags are sent.
    pub tags: SessionTags,
    /// Whether a role that STS refuses with tags is asked for without them.
    pub untagged_fallback: bool,
    /// Whether sessions that a pod's own code assumes inherit the tags, unless the rule says it.
    pub transitive: bool,
    /// For the tag `eks-cluster-name`.
    pub cluster_name: Option<Box<str>>,
    /// For the tag `eks-cluster-arn`; left out where it is not known.
    pub cluster_arn: Option<ClusterArn>,
    /// How long a session lasts.
    pub duration: Duration,
    /// Whether the API server is asked for tokens that no volume of the pod has.
    pub token_requests: bool,
}

/// Why no session can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// EKS is asked by the cluster's name.
    #[error("EKS Pod Identity needs the cluster's name; start the agent with --cluster-name")]
    NoClusterName,
    /// The external id of an untagged chain names the cluster.
    #[error(
        "a target role without session tags gets an external id that names the cluster; start the agent with --cluster-arn, or set externalId"
    )]
    NoClusterArn,
    /// No volume of the pod has the token that is needed.
    #[error(
        "the pod has no ServiceAccount token for {0}: the webhook that adds it did not see this pod; make the pod anew, or start the agent with --service-account-tokens=request"
    )]
    NoToken(Box<str>),
    /// The target can never be assumed from the role.
    #[error(
        "{target} is in another partition than {role}, from where no role there can be assumed"
    )]
    OtherPartition {
        /// The first role.
        role: Box<RoleArn>,
        /// The target.
        target: Box<RoleArn>,
    },
    /// A tag that STS would refuse, or that nobody may set.
    #[error("the session tag {key:?} is refused: {why}")]
    Tag {
        /// Its key.
        key: Box<str>,
        /// What is wrong.
        why: TagError,
    },
    /// STS would refuse it.
    #[error("{what}: {why}")]
    Limit {
        /// What is wrong.
        what: Box<str>,
        /// What STS allows.
        why: &'static str,
    },
}

impl SessionPlan {
    /// The session that `grant` gives `pod`.
    ///
    /// # Errors
    /// [`PlanError`], where AWS would refuse what would be asked of it.
    pub fn request(&self, pod: &Pod, grant: &Grant) -> Result<SessionRequest, PlanError> {
        Ok(match &grant.way {
            Way::AssumeRole(call) => {
                SessionRequest::AssumeRole(Box::new(self.assume_role(pod, call)?))
            }
            Way::WebIdentity { role, audience } => {
                SessionRequest::WebIdentity(Box::new(WebIdentityRequest {
                    pod: self.token_owner(pod, audience.as_deref().unwrap_or(STS_AUDIENCE))?,
                    role: role.clone(),
                    name: session_name(&pod.namespace, &pod.name),
                    duration: self.duration,
                }))
            }
            Way::PodIdentity => SessionRequest::PodIdentity(Box::new(PodIdentityRequest {
                pod: self.token_owner(pod, POD_IDENTITY_AUDIENCE)?,
                cluster_name: self.cluster_name.clone().ok_or(PlanError::NoClusterName)?,
            })),
        })
    }

    fn assume_role(&self, pod: &Pod, call: &AssumeRole) -> Result<AssumeRoleRequest, PlanError> {
        let AssumeRole { role, target, .. } = call;
        if let Some(target) = target.as_ref().filter(|to| to.partition() != role.partition()) {
            return Err(PlanError::OtherPartition {
                role: Box::new(role.clone()),
                target: Box::new(target.clone()),
            });
        }
        let duration = call.duration.unwrap_or(self.duration);
        limits::check_duration(duration)?;
        call.policy.as_deref().map_or(Ok(()), limits::check_policy)?;
        call.external_id.as_deref().map_or(Ok(()), limits::check_external_id)?;
        Ok(AssumeRoleRequest {
            role: role.clone(),
            target: target.clone(),
            name: self.name(pod, call),
            tags: self.all_tags(pod, call)?,
            transitive: call.transitive.unwrap_or(self.transitive),
            untagged_fallback: self.untagged_fallback,
            external_id: self.external_id(pod, call)?,
            duration: if target.is_some() { duration.min(CHAINED) } else { duration },
            policy: call.policy.clone(),
        })
    }

    /// The same for the pod's whole life.
    fn name(&self, pod: &Pod, call: &AssumeRole) -> Box<str> {
        let own = match (&call.session_name, self.tags) {
            (Some(chosen), _) => chosen,
            (None, SessionTags::Pod | SessionTags::None) => &pod.name,
            (None, SessionTags::Workload) => &pod.service_account,
        };
        session_name(&pod.namespace, own)
    }

    /// Of a chain without the six tags, what Pod Identity sends in their stead: the target can still
    /// tell by `sts:ExternalId` whom it is for (Amazon EKS User Guide, "Access AWS resources using EKS
    /// Pod Identity target IAM roles").
    fn external_id(&self, pod: &Pod, call: &AssumeRole) -> Result<Option<Box<str>>, PlanError> {
        let untagged = call.untagged || self.tags == SessionTags::None;
        if call.external_id.is_some() || call.target.is_none() || !untagged {
            return Ok(call.external_id.clone());
        }
        let ClusterArn { place, .. } = self.cluster_arn.as_ref().ok_or(PlanError::NoClusterArn)?;
        let id = format!("{place}/{}/{}", pod.namespace, pod.service_account);
        limits::check_external_id(&id)?;
        Ok(Some(id.into()))
    }

    fn all_tags(&self, pod: &Pod, call: &AssumeRole) -> Result<Vec<Tag>, PlanError> {
        let mut tags = if call.untagged { Vec::new() } else { self.pod_tags(pod) };
        for (key, value) in &call.tags {
            tags::check_key(key)
                .and_then(|()| tags::check_value(value))
                .map_err(|why| PlanError::Tag { key: key.clone(), why })?;
            tags.push(Tag { key: key.clone(), value: value.clone() });
        }
        tags::check_unique(tags.iter().map(|tag| &*tag.key))
            .map_err(|(key, why)| PlanError::Tag { key: key.into(), why })?;
        limits::check_number(tags.len())?;
        Ok(tags)
    }

    /// The keys of EKS Pod Identity, so that policies written for it work unchanged (Amazon EKS User Guide,
    /// "Grant Pods access to AWS resources based on tags"), as far as they are wanted and known. No value
    /// needs cutting: Kubernetes allows at most 253 characters where STS allows 256.
    fn pod_tags(&self, pod: &Pod) -> Vec<Tag> {
        let (workload, own) = match self.tags {
            SessionTags::Pod => (true, true),
            SessionTags::Workload => (true, false),
            SessionTags::None => (false, false),
        };
        let values = [
            (workload, self.cluster_arn.as_ref().map(ClusterArn::as_str)),
            (workload, self.cluster_name.as_deref()),
            (workload, Some(&*pod.namespace)),
            (workload, Some(&*pod.service_account)),
            (own, Some(&*pod.name)),
            (own, Some(pod.uid.as_str())),
        ];
        let tags = tags::RESERVED.into_iter().zip(values);
        tags.filter_map(|(key, (is_wanted, value))| {
            let value = value.filter(|_| is_wanted)?;
            Some(Tag { key: key.into(), value: value.into() })
        })
        .collect()
    }

    fn token_owner(&self, pod: &Pod, audience: &str) -> Result<TokenOwner, PlanError> {
        let fits = |token: &&ProjectedToken| token.audience.as_deref() == Some(audience);
        let mounted = pod.tokens.iter().find(fits).cloned();
        if mounted.is_none() && !self.token_requests {
            return Err(PlanError::NoToken(audience.into()));
        }
        Ok(TokenOwner {
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            service_account: pod.service_account.clone(),
            audience: audience.into(),
            mounted,
        })
    }
}

#[cfg(test)]
impl SessionPlan {
    /// What the flags' defaults make of a cluster called `prod`.
    pub(crate) fn fixture() -> Self {
        Self {
            tags: SessionTags::Pod,
            untagged_fallback: false,
            transitive: false,
            cluster_name: Some("prod".into()),
            cluster_arn: ClusterArn::parse("arn:aws:eks:us-west-2:123456789012:cluster/prod"),
            duration: Duration::from_hours(1),
            token_requests: false,
        }
    }
}

impl ClusterArn {
    /// Reads one; none where the text is something else.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let mut fields = arn.splitn(6, ':');
        let (scheme, _partition, service) = (fields.next()?, fields.next()?, fields.next()?);
        let (region, account, resource) = (fields.next()?, fields.next()?, fields.next()?);
        let name = resource.strip_prefix("cluster/")?;
        let is_whole = [region, account, name].iter().all(|part| !part.is_empty());
        (scheme == "arn" && service == "eks" && is_whole)
            .then(|| Self { arn: arn.into(), place: format!("{region}/{account}/{name}").into() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }
}
