//! How a pod's session is asked for: its name and its tags. Pure.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use crate::callers::pods::{Pod, ProjectedToken};
use crate::roles::{AssumeRole, Grant, Way};

use super::session::{
    AssumeRoleRequest, PodIdentityRequest, SessionRequest, Tag, TokenOwner, WebIdentityRequest,
};

/// The longest session name, in characters (AWS STS API Reference, "AssumeRole", `RoleSessionName`).
const NAME_MAX: usize = 64;
/// Who a token for `AssumeRoleWithWebIdentity` is for.
const STS_AUDIENCE: &str = "sts.amazonaws.com";
/// Who a token for `AssumeRoleForPodIdentity` is for.
const POD_IDENTITY_AUDIENCE: &str = "pods.eks.amazonaws.com";

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

/// How a pod's session is asked for: the same for every pod of the node.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// Which tags are sent.
    pub tags: SessionTags,
    /// For the tag `eks-cluster-name`.
    pub cluster_name: Option<Box<str>>,
    /// For the tag `eks-cluster-arn`; left out where it is not known.
    pub cluster_arn: Option<Box<str>>,
    /// How long a session lasts.
    pub duration: Duration,
}

/// Why no session can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// EKS is asked by the cluster's name.
    #[error("EKS Pod Identity needs the cluster's name; start the agent with --cluster-name")]
    NoClusterName,
}

impl SessionPlan {
    /// The session that `grant` gives `pod`.
    ///
    /// # Errors
    /// [`PlanError`], where AWS would refuse what would be asked of it.
    pub fn request(&self, pod: &Pod, grant: &Grant) -> Result<SessionRequest, PlanError> {
        Ok(match &grant.way {
            Way::AssumeRole(call) => {
                SessionRequest::AssumeRole(Box::new(self.assume_role(pod, call)))
            }
            Way::WebIdentity { role } => {
                SessionRequest::WebIdentity(Box::new(WebIdentityRequest {
                    pod: token_owner(pod, STS_AUDIENCE),
                    role: role.clone(),
                    name: session_name(&pod.namespace, &pod.name),
                    duration: self.duration,
                }))
            }
            Way::PodIdentity => SessionRequest::PodIdentity(Box::new(PodIdentityRequest {
                pod: token_owner(pod, POD_IDENTITY_AUDIENCE),
                cluster_name: self.cluster_name.clone().ok_or(PlanError::NoClusterName)?,
            })),
        })
    }

    fn assume_role(&self, pod: &Pod, call: &AssumeRole) -> AssumeRoleRequest {
        let name = match self.tags {
            SessionTags::Pod | SessionTags::None => session_name(&pod.namespace, &pod.name),
            SessionTags::Workload => session_name(&pod.namespace, &pod.service_account),
        };
        AssumeRoleRequest {
            role: call.role.clone(),
            target: call.target.clone(),
            name,
            tags: self.tags_of(pod),
            transitive: call.transitive.unwrap_or(false),
            external_id: call.external_id.clone(),
            duration: call.duration.unwrap_or(self.duration),
            policy: call.policy.clone(),
        }
    }

    /// The keys of EKS Pod Identity (Amazon EKS User Guide, "Grant Pods access to AWS resources based
    /// on tags"), so that policies written for it work unchanged. No value needs cutting: Kubernetes
    /// allows at most 253 characters where STS allows 256.
    fn tags_of(&self, pod: &Pod) -> Vec<Tag> {
        let mut tags = Vec::with_capacity(6);
        let mut tag =
            |key: &str, value: &str| tags.push(Tag { key: key.into(), value: value.into() });
        if self.tags == SessionTags::None {
            return tags;
        }
        if let Some(arn) = &self.cluster_arn {
            tag("eks-cluster-arn", arn);
        }
        if let Some(name) = &self.cluster_name {
            tag("eks-cluster-name", name);
        }
        tag("kubernetes-namespace", &pod.namespace);
        tag("kubernetes-service-account", &pod.service_account);
        if self.tags == SessionTags::Pod {
            tag("kubernetes-pod-name", &pod.name);
            tag("kubernetes-pod-uid", pod.uid.as_str());
        }
        tags
    }
}

fn token_owner(pod: &Pod, audience: &str) -> TokenOwner {
    let fits = |token: &&ProjectedToken| token.audience.as_deref() == Some(audience);
    TokenOwner {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        service_account: pod.service_account.clone(),
        mounted: pod.tokens.iter().find(fits).cloned(),
    }
}

/// `NAMESPACE@NAME`, which no two objects share since Kubernetes' names hold no `@`. One that is too
/// long is cut and ends in a hash of the whole.
fn session_name(namespace: &str, name: &str) -> Box<str> {
    let whole = format!("{namespace}@{name}");
    // Kubernetes' names are within STS's character class; this holds it, whatever comes.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let clean: String = whole.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    if clean.len() <= NAME_MAX && clean == whole {
        return clean.into();
    }
    let hash = digest(&SHA256, whole.as_bytes());
    let hash = hash.as_ref().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let cut: String = clean.chars().take(NAME_MAX - "-01234567".len()).collect();
    format!("{cut}-{hash:08x}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(tags: SessionTags) -> SessionPlan {
        SessionPlan {
            tags,
            cluster_name: Some("prod".into()),
            cluster_arn: Some("arn:aws:eks:us-west-2:123456789012:cluster/prod".into()),
            duration: Duration::from_hours(1),
        }
    }

    fn role() -> AssumeRole {
        AssumeRole::plain("arn:aws:iam::123456789012:role/web".parse().unwrap())
    }

    fn keys(request: &AssumeRoleRequest) -> Vec<&str> {
        request.tags.iter().map(|tag| &*tag.key).collect()
    }

    #[test]
    fn a_pods_session_bears_the_six_tags_of_pod_identity() {
        let request = plan(SessionTags::Pod).assume_role(&Pod::fixture("uid-1", &[]), &role());
        let six = [
            "eks-cluster-arn",
            "eks-cluster-name",
            "kubernetes-namespace",
            "kubernetes-service-account",
            "kubernetes-pod-name",
            "kubernetes-pod-uid",
        ];
        assert_eq!(keys(&request), six);
        assert_eq!(&*request.name, "default@uid-1");
    }

    #[test]
    fn pods_of_a_workload_share_a_session_and_others_do_not() {
        let (a, b) = (Pod::fixture("a", &[]), Pod::fixture("b", &[]));
        let other = Pod { service_account: "other".into(), ..Pod::fixture("c", &[]) };
        let workload = plan(SessionTags::Workload);
        assert_eq!(workload.assume_role(&a, &role()), workload.assume_role(&b, &role()));
        assert_ne!(workload.assume_role(&a, &role()), workload.assume_role(&other, &role()));
        let pod = plan(SessionTags::Pod);
        assert_ne!(pod.assume_role(&a, &role()), pod.assume_role(&b, &role()));
    }

    #[test]
    fn a_tag_whose_value_is_unknown_is_left_out() {
        let plan = SessionPlan { cluster_arn: None, ..plan(SessionTags::Pod) };
        let request = plan.assume_role(&Pod::fixture("a", &[]), &role());
        assert!(!keys(&request).contains(&"eks-cluster-arn"));
        assert!(keys(&plan_none().assume_role(&Pod::fixture("a", &[]), &role())).is_empty());
    }

    fn plan_none() -> SessionPlan {
        plan(SessionTags::None)
    }

    #[test]
    fn long_session_names_are_cut_readably_and_stay_apart() {
        let long = "a".repeat(80);
        let name = session_name("team", &long);
        assert_eq!(name.len(), 64);
        assert!(name.starts_with("team@aaaa"));
        assert_ne!(name, session_name("team", &format!("{long}b")));
        assert_eq!(name, session_name("team", &long));
        assert_eq!(&*session_name("team", "web-0"), "team@web-0");
        let full = "b".repeat(59);
        assert_eq!(session_name("team", &full).len(), 64);
        assert!(session_name("team", &full).ends_with('b'));
    }
}
