//! Which objects the roles of some pods depend on. Pure.

use std::collections::HashSet;

use crate::callers::pods::Pod;
use crate::roles::decide::Rules;
use crate::roles::grant::{Rule, SourceName};
use crate::roles::rules::needs_service_account;

use super::Served;

/// Something that is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The Namespace of this name.
    Namespace(Box<str>),
    /// The `ServiceAccount` of a namespace, by its name.
    ServiceAccount(Box<str>, Box<str>),
    /// The associations that name a namespace, or all.
    Associations(Option<Box<str>>),
}

impl Key {
    /// What [`Self::Associations`] are called.
    pub(super) const ASSOCIATIONS: &str = "RoleAssociations";

    /// What it is one of.
    pub(super) fn plural(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "Namespaces",
            Self::ServiceAccount(..) => "ServiceAccounts",
            Self::Associations(_) => Self::ASSOCIATIONS,
        }
    }
}

/// What `pods` need, where associations can be watched as `served` says.
pub(super) fn of_pods<'a>(
    rules: &Rules,
    pods: impl Iterator<Item = &'a Pod>,
    served: Option<&Served>,
) -> HashSet<Key> {
    let uses = |source: SourceName| rules.sources.contains(&source);
    let mut needed = HashSet::new();
    let by_namespace = served == Some(&Served::ByNamespace) && uses(Rule::RoleAssociation.source());
    for pod in pods {
        needed.insert(Key::Namespace(pod.namespace.clone()));
        if by_namespace {
            needed.insert(Key::Associations(Some(pod.namespace.clone())));
        }
        let by_account = uses(SourceName::WebIdentity) && !pod.host_network;
        if by_account
            && !pod.annotations.contains_key(&rules.keys.role)
            && needs_service_account(rules, pod)
        {
            let (namespace, name) = (pod.namespace.clone(), pod.service_account.clone());
            needed.insert(Key::ServiceAccount(namespace, name));
        }
    }
    if served == Some(&Served::Whole) && uses(Rule::RoleAssociation.source()) {
        needed.insert(Key::Associations(None));
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::pods::ProjectedToken;
    use crate::roles::DefaultRole;

    fn needed(rules: &Rules, pods: &[Pod], served: &Served) -> Vec<Key> {
        let mut keys: Vec<_> = of_pods(rules, pods.iter(), Some(served)).into_iter().collect();
        keys.sort();
        keys
    }

    fn with_token(pod: Pod) -> Pod {
        let token = ProjectedToken {
            volume: "aws-iam-token".into(),
            path: "token".into(),
            audience: Some("sts.amazonaws.com".into()),
        };
        Pod { tokens: vec![token], ..pod }
    }

    #[test]
    fn pods_of_a_namespace_share_its_watches() {
        let pods = [Pod::fixture("a", &[]), Pod::fixture("b", &[])];
        let associations = Key::Associations(Some("default".into()));
        let expected = [Key::Namespace("default".into()), associations];
        assert_eq!(needed(&Rules::fixture(), &pods, &Served::ByNamespace), expected);
        let whole = [Key::Namespace("default".into()), Key::Associations(None)];
        assert_eq!(needed(&Rules::fixture(), &pods, &Served::Whole), whole);
        assert_eq!(needed(&Rules::fixture(), &pods, &Served::NotInstalled), whole[..1]);
    }

    #[test]
    fn a_service_account_is_looked_up_where_its_annotation_could_count() {
        let account = Key::ServiceAccount("default".into(), "default".into());
        let looks_up = |rules: &Rules, pod: Pod| {
            needed(rules, &[pod], &Served::NotInstalled).contains(&account)
        };
        let plain = || Pod::fixture("a", &[]);
        let annotated = plain().annotated("iam.amazonaws.com/role", "web");
        let rules = Rules::fixture();
        assert!(!looks_up(&rules, plain()));
        assert!(looks_up(&rules, with_token(plain())));
        assert!(!looks_up(&rules, with_token(annotated)));
        assert!(!looks_up(&rules, with_token(Pod { host_network: true, ..plain() })));
        let sts_alone = Rules { sources: vec![SourceName::Sts], ..Rules::fixture() };
        assert!(!looks_up(&sts_alone, with_token(plain())));
        let requesting = Rules { requests_tokens: true, ..Rules::fixture() };
        assert!(looks_up(&requesting, plain()));
        let role = DefaultRole::new("arn:aws:iam::123456789012:role/x", None).unwrap();
        assert!(looks_up(&Rules { default_role: Some(role), ..Rules::fixture() }, plain()));
    }
}
