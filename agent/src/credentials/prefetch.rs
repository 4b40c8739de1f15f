//! Whose sessions are fetched before anybody asks (`--prefetch`). Pure.

use std::time::{Duration, SystemTime};

use crate::callers::pods::Pod;
use crate::roles::{Grant, Rule};

/// A pod made longer ago has started its containers without this agent: it has what it needs, or asks.
const NEW: Duration = Duration::from_mins(2);

/// Whose sessions are fetched ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Of pods that an association or their own annotation maps, and that have no credentials of their
    /// own.
    #[default]
    Mapped,
    /// Of every pod that has a role, but for `--default-role`.
    All,
    /// Of none.
    Off,
}

/// When a session is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// As soon as there is room: the pod's containers are about to start.
    Now,
    /// Some time soon, spread out so that all nodes of a cluster may start their agents at once.
    Spread,
    /// When the pod asks.
    No,
}

impl Policy {
    /// When the session that `grant` gives `pod` is fetched.
    #[must_use]
    pub fn of(self, pod: &Pod, grant: &Grant, now: SystemTime) -> Prefetch {
        let mapped = match grant.rule {
            Rule::RoleAssociation | Rule::PodAnnotation | Rule::PodIdentity => !pod.has_credentials,
            Rule::ServiceAccountAnnotation | Rule::DefaultRole => false,
        };
        // A pod in the node's network asks rarely, and the node itself where it is left alone.
        let wanted = match self {
            Self::Mapped => mapped,
            Self::All => grant.rule != Rule::DefaultRole,
            Self::Off => false,
        } && !pod.host_network;
        // The API server's clock may be ahead of the node's.
        let age = now.duration_since(pod.created).unwrap_or_default();
        match (wanted, age < NEW) {
            (true, true) => Prefetch::Now,
            (true, false) => Prefetch::Spread,
            (false, _) => Prefetch::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::roles::{AssumeRole, Way};

    use super::*;

    fn grant(rule: Rule) -> Grant {
        let arn = "arn:aws:iam::123456789012:role/web".parse().unwrap();
        Grant { rule, way: Way::AssumeRole(Box::new(AssumeRole::plain(arn))) }
    }

    #[test]
    fn mapped_pods_without_credentials_of_their_own_are_prefetched() {
        let pod = Pod::fixture("a", &[]);
        let host = Pod { host_network: true, ..Pod::fixture("c", &[]) };
        let equipped = Pod { has_credentials: true, ..Pod::fixture("b", &[]) };
        for (rule, mapped) in [
            (Rule::RoleAssociation, true),
            (Rule::PodAnnotation, true),
            (Rule::PodIdentity, true),
            (Rule::ServiceAccountAnnotation, false),
            (Rule::DefaultRole, false),
        ] {
            let is =
                |policy: Policy, pod| policy.of(pod, &grant(rule), pod.created) != Prefetch::No;
            assert_eq!(is(Policy::Mapped, &pod), mapped, "{rule}");
            assert!(!is(Policy::Mapped, &equipped), "{rule}");
            assert_eq!(is(Policy::All, &equipped), rule != Rule::DefaultRole, "{rule}");
            assert!(!is(Policy::Off, &pod) && !is(Policy::All, &host), "{rule}");
        }
    }

    #[test]
    fn only_new_pods_are_prefetched_at_once() {
        let pod = Pod::fixture("a", &[]);
        let at = |now| Policy::Mapped.of(&pod, &grant(Rule::PodAnnotation), now);
        assert_eq!(at(pod.created + NEW / 2), Prefetch::Now);
        assert_eq!(at(pod.created - NEW), Prefetch::Now);
        assert_eq!(at(pod.created + NEW), Prefetch::Spread);
    }
}
