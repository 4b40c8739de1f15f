//! What a cluster, a namespace or a pod forbids beyond what its role says: each can be stricter than the
//! one above it, and none less strict.

use std::str::FromStr;
use std::sync::Arc;

use crate::callers::pods::Pod;
use crate::metadata::node::Reach;
use crate::roles::facts::{IMDS_V1_ANNOTATION, Known, Missing, Namespace};

/// Whether requests without a token are answered (`IMDSv1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImdsV1 {
    /// They are.
    Allow,
    /// They are answered with 401.
    #[default]
    Deny,
}

impl FromStr for ImdsV1 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            _ => Err(format!("{text:?} is unknown; write `allow` or `deny`")),
        }
    }
}

impl ImdsV1 {
    /// With what an annotation says: it can only refuse. What it does not mean to allow it refuses.
    pub(crate) fn with(self, annotation: Option<&str>) -> Self {
        match annotation {
            None => self,
            Some(said) if said.trim() == "allow" => self,
            Some(_) => Self::Deny,
        }
    }

    /// With what `pod` says.
    pub(crate) fn for_pod(self, pod: &Pod) -> Self {
        self.with(pod.annotations.get(IMDS_V1_ANNOTATION).map(AsRef::as_ref))
    }

    /// With what the pod's Namespace says too.
    pub(crate) fn for_namespace(self, namespace: &Known<Arc<Namespace>>) -> Result<Self, Missing> {
        match namespace {
            _ if self == Self::Deny => Ok(Self::Deny),
            Known::There(namespace) if namespace.denies_imds_v1 => Ok(Self::Deny),
            Known::There(_) | Known::Absent => Ok(self),
            Known::NotYet(missing) => Err(*missing),
        }
    }
}

/// How far a pod of the Namespace sees beyond its role. In the node's network namespace it is the
/// node in all else.
pub(crate) fn reach(pod: &Pod, namespace: &Known<Arc<Namespace>>) -> Result<Reach, Missing> {
    match namespace {
        Known::There(namespace) if namespace.denies_metadata() => Ok(Reach::Nothing),
        Known::There(_) | Known::Absent if pod.host_network => Ok(Reach::Everything),
        Known::There(_) | Known::Absent => Ok(Reach::Listed),
        Known::NotYet(missing) => Err(*missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_can_only_be_stricter_than_the_cluster() {
        let pod = |said| Pod::fixture("a", &[]).annotated(IMDS_V1_ANNOTATION, said);
        let none = Pod::fixture("a", &[]);
        for (cluster, pod, expected) in [
            (ImdsV1::Allow, &none, ImdsV1::Allow),
            (ImdsV1::Allow, &pod("allow"), ImdsV1::Allow),
            (ImdsV1::Allow, &pod("deny"), ImdsV1::Deny),
            (ImdsV1::Allow, &pod("Deny"), ImdsV1::Deny),
            (ImdsV1::Allow, &pod("false"), ImdsV1::Deny),
            (ImdsV1::Deny, &none, ImdsV1::Deny),
            (ImdsV1::Deny, &pod("allow"), ImdsV1::Deny),
        ] {
            assert_eq!(cluster.for_pod(pod), expected, "{cluster:?} {:?}", pod.annotations);
        }
    }
}
