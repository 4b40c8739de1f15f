//! Pods in the node's network namespace: which of them are the node, and which are held like any
//! other pod (`--host-network-pods`, `--host-network-exempt`). Pure.

use std::fmt;
use std::str::FromStr;

use crate::kernel::HostPod;

use super::pods::Pod;

/// What such pods get (`--host-network-pods`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNetworkPods {
    /// The real service, whatever annotations say.
    #[default]
    Node,
    /// The role that a rule gives to that very pod, if one does; else they are the node.
    Mapped,
    /// The same role; else none.
    Deny,
}

impl fmt::Display for HostNetworkPods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Mapped => "mapped",
            Self::Deny => "deny",
        })
    }
}

/// Pods that are the node in any case, by `NAMESPACE/SERVICEACCOUNT`; `*` stands for any of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt {
    namespace: Box<str>,
    service_account: Box<str>,
}

/// How such pods are told apart.
#[derive(Clone, Debug, Default)]
pub struct HostNetwork {
    /// What they get.
    pub pods: HostNetworkPods,
    /// Who is the node in any case.
    pub exempt: Vec<Exempt>,
}

/// Whether a rule gives a role to that very pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// One does, or is refused.
    Yes,
    /// None does.
    No,
    /// What a rule needs to know is not there yet.
    Unknown,
}

impl HostNetwork {
    /// Whether any of them may be held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.pods != HostNetworkPods::Node
    }

    /// Whether the pod is the node, whatever rules say of it. Static pods are: they run before there
    /// is an API server to ask.
    #[must_use]
    pub fn is_node(&self, pod: &Pod) -> bool {
        !self.is_held()
            || pod.mirrors.is_some()
            || self.exempt.iter().any(|exempt| exempt.is_about(pod))
    }

    /// What that means for a pod in the node's network namespace, with the flag that says so.
    #[must_use]
    pub fn says(&self, pod: &Pod) -> &'static str {
        match self.pods {
            HostNetworkPods::Node => {
                "it has the node's role, whatever rules say (--host-network-pods=node)"
            }
            _ if pod.mirrors.is_some() => {
                "it has the node's role, whatever rules say: it is a static pod"
            }
            _ if self.is_node(pod) => {
                "it has the node's role, whatever rules say (--host-network-exempt)"
            }
            HostNetworkPods::Mapped => {
                "it has the node's role unless a rule applies (--host-network-pods=mapped)"
            }
            HostNetworkPods::Deny => {
                "it has no role unless a rule gives one (--host-network-pods=deny)"
            }
        }
    }

    /// What the programs are to do with the pod; `None` refuses it, until it is known.
    #[must_use]
    pub fn decide(&self, pod: &Pod, mapped: Mapped) -> Option<HostPod> {
        if self.is_node(pod) {
            return Some(HostPod::Node);
        }
        match (mapped, self.pods) {
            (Mapped::Unknown, _) => None,
            (Mapped::Yes, _) | (Mapped::No, HostNetworkPods::Deny) => Some(HostPod::Held),
            (Mapped::No, HostNetworkPods::Mapped | HostNetworkPods::Node) => Some(HostPod::Node),
        }
    }
}

impl Exempt {
    fn is_about(&self, pod: &Pod) -> bool {
        let matches = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        matches(&self.namespace, &pod.namespace)
            && matches(&self.service_account, &pod.service_account)
    }
}

impl FromStr for Exempt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        let is_name = |name: &str| name == "*" || !name.is_empty() && name.chars().all(allowed);
        match text.split_once('/') {
            Some((namespace, account)) if is_name(namespace) && is_name(account) => {
                Ok(Self { namespace: namespace.into(), service_account: account.into() })
            }
            _ => Err(format!(
                "{text:?} is not of the form NAMESPACE/SERVICEACCOUNT, such as kube-system/*"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::pod_key::PodKey;

    fn host(namespace: &str) -> Pod {
        let pod = Pod::fixture("a", &[]);
        Pod { host_network: true, namespace: namespace.into(), ..pod }
    }

    fn settings(pods: HostNetworkPods) -> HostNetwork {
        HostNetwork { pods, exempt: vec!["kube-system/*".parse().unwrap()] }
    }

    #[test]
    fn the_mode_decides_for_whom_no_rule_maps() {
        use HostNetworkPods::{Deny, Mapped as ByRule, Node};
        let (node, held) = (Some(HostPod::Node), Some(HostPod::Held));
        for (pods, mapped, gets) in [
            (Node, Mapped::Yes, node),
            (Node, Mapped::No, node),
            (Node, Mapped::Unknown, node),
            (ByRule, Mapped::Yes, held),
            (ByRule, Mapped::No, node),
            (ByRule, Mapped::Unknown, None),
            (Deny, Mapped::Yes, held),
            (Deny, Mapped::No, held),
            (Deny, Mapped::Unknown, None),
        ] {
            assert_eq!(settings(pods).decide(&host("shop"), mapped), gets, "{pods:?} {mapped:?}");
        }
    }

    #[test]
    fn exempt_and_static_pods_are_the_node_whatever_is_said_of_them() {
        let deny = settings(HostNetworkPods::Deny);
        let key = PodKey::of_config_hash("0123456789abcdef0123456789abcdef");
        let mirror = Pod { mirrors: key, ..host("shop") };
        for pod in [host("kube-system"), mirror] {
            for mapped in [Mapped::Yes, Mapped::No, Mapped::Unknown] {
                assert_eq!(deny.decide(&pod, mapped), Some(HostPod::Node));
            }
        }
    }

    #[test]
    fn an_exemption_names_namespace_and_service_account() {
        let is_about = |text: &str| text.parse::<Exempt>().unwrap().is_about(&host("shop"));
        assert!(is_about("shop/default") && is_about("*/default") && is_about("shop/*"));
        assert!(!is_about("shop/other") && !is_about("other/default"));
        for bad in ["", "shop", "/", "shop/", "/default", "a/b/c", "Shop/*", "sh*p/x"] {
            assert!(bad.parse::<Exempt>().is_err(), "{bad:?}");
        }
    }
}
