//! The plan of a session, case by case.

use super::*;
use crate::roles::Rule;

fn plan(tags: SessionTags) -> SessionPlan {
    SessionPlan { tags, ..SessionPlan::fixture() }
}

fn arn(name: &str) -> RoleArn {
    format!("arn:aws:iam::123456789012:role/{name}").parse().unwrap()
}

fn role() -> AssumeRole {
    AssumeRole::plain(arn("web"))
}

fn chain() -> AssumeRole {
    AssumeRole { target: Some(arn("target")), ..role() }
}

fn pod() -> Pod {
    Pod { namespace: "shop".into(), service_account: "cart".into(), ..Pod::fixture("uid-1", &[]) }
}

fn asked(plan: &SessionPlan, call: &AssumeRole) -> AssumeRoleRequest {
    plan.assume_role(&pod(), call).unwrap()
}

fn keys(request: &AssumeRoleRequest) -> Vec<&str> {
    request.tags.iter().map(|tag| &*tag.key).collect()
}

#[test]
fn a_pods_session_bears_the_six_tags_of_pod_identity() {
    let request = asked(&plan(SessionTags::Pod), &role());
    assert_eq!(keys(&request), tags::RESERVED);
    let values: Vec<&str> = request.tags.iter().map(|tag| &*tag.value).collect();
    let arn = "arn:aws:eks:us-west-2:123456789012:cluster/prod";
    assert_eq!(values, [arn, "prod", "shop", "cart", "uid-1", "uid-1"]);
    assert_eq!(&*request.name, "shop@uid-1");
    assert!(!request.transitive && !request.untagged_fallback);
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
    let plan_without = SessionPlan { cluster_arn: None, ..plan(SessionTags::Pod) };
    assert!(!keys(&asked(&plan_without, &role())).contains(&"eks-cluster-arn"));
    assert!(keys(&asked(&plan(SessionTags::None), &role())).is_empty());
}

#[test]
fn the_rules_tags_stand_beside_the_six_or_alone() {
    let tags = vec![("team".into(), "a".into())];
    let with = AssumeRole { tags, ..role() };
    assert_eq!(keys(&asked(&plan(SessionTags::Pod), &with)).len(), 7);
    let alone = AssumeRole { untagged: true, ..with };
    assert_eq!(keys(&asked(&plan(SessionTags::Pod), &alone)), ["team"]);
}

#[test]
fn nobody_sets_a_tag_that_says_who_the_pod_is() {
    for key in ["kubernetes-namespace", "Kubernetes-Namespace", "EKS-CLUSTER-ARN"] {
        for untagged in [false, true] {
            let tags = vec![(key.into(), "other".into())];
            let call = AssumeRole { tags, untagged, ..role() };
            let refused = plan(SessionTags::None).assume_role(&pod(), &call).unwrap_err();
            assert_eq!(refused, PlanError::Tag { key: key.into(), why: TagError::Reserved });
        }
    }
}

#[test]
fn tags_that_sts_would_refuse_are_refused_first() {
    let plan = plan(SessionTags::Pod);
    let refused = |tags: Vec<(Box<str>, Box<str>)>| {
        plan.assume_role(&pod(), &AssumeRole { tags, ..role() }).unwrap_err()
    };
    let twice = refused(vec![("team".into(), "a".into()), ("Team".into(), "b".into())]);
    assert_eq!(twice, PlanError::Tag { key: "Team".into(), why: TagError::Twice });
    let value = refused(vec![("team".into(), "a;b".into())]);
    assert_eq!(value, PlanError::Tag { key: "team".into(), why: TagError::Value });
    let many = (0..45).map(|at| (format!("key{at}").into(), "".into())).collect();
    assert!(matches!(refused(many), PlanError::Limit { .. }));
}

#[test]
fn a_chosen_name_is_prefixed_with_the_namespace() {
    let call = AssumeRole { session_name: Some("other@web".into()), ..role() };
    assert_eq!(&*asked(&plan(SessionTags::Pod), &call).name, "shop@other@web");
    assert_eq!(&*asked(&plan(SessionTags::Workload), &role()).name, "shop@cart");
}

#[test]
fn the_rule_decides_of_transitive_tags_before_the_flag() {
    let transitive = SessionPlan { transitive: true, ..plan(SessionTags::Pod) };
    assert!(asked(&transitive, &role()).transitive);
    let call = AssumeRole { transitive: Some(false), ..role() };
    assert!(!asked(&transitive, &call).transitive);
}

#[test]
fn a_chain_lasts_an_hour_at_most_and_stays_within_its_partition() {
    let day = SessionPlan { duration: Duration::from_hours(12), ..plan(SessionTags::Pod) };
    assert_eq!(asked(&day, &role()).duration, Duration::from_hours(12));
    assert_eq!(asked(&day, &chain()).duration, Duration::from_hours(1));
    let target = "arn:aws-cn:iam::123456789012:role/target".parse().ok();
    let refused = day.assume_role(&pod(), &AssumeRole { target, ..role() }).unwrap_err();
    assert!(matches!(refused, PlanError::OtherPartition { .. }));
}

#[test]
fn an_untagged_chain_has_the_external_id_of_pod_identity() {
    let untagged = AssumeRole { untagged: true, ..chain() };
    let id = "us-west-2/123456789012/prod/shop/cart";
    for (plan, call) in [(plan(SessionTags::Pod), &untagged), (plan(SessionTags::None), &chain())] {
        assert_eq!(asked(&plan, call).external_id.as_deref(), Some(id));
    }
    assert_eq!(asked(&plan(SessionTags::Pod), &chain()).external_id, None);
    let alone = AssumeRole { untagged: true, ..role() };
    assert_eq!(asked(&plan(SessionTags::Pod), &alone).external_id, None);
    let own = AssumeRole { external_id: Some("own".into()), ..untagged.clone() };
    assert_eq!(asked(&plan(SessionTags::Pod), &own).external_id.as_deref(), Some("own"));
    let unknown = SessionPlan { cluster_arn: None, ..plan(SessionTags::Pod) };
    let refused = unknown.assume_role(&pod(), &untagged).unwrap_err();
    assert_eq!(refused, PlanError::NoClusterArn);
}

#[test]
fn a_web_identity_needs_the_pods_token_or_the_right_to_ask_for_one() {
    let way = Way::WebIdentity { role: arn("web"), audience: None };
    let grant = Grant { rule: Rule::ServiceAccountAnnotation, way };
    let refused = plan(SessionTags::Pod).request(&pod(), &grant).unwrap_err();
    assert_eq!(refused, PlanError::NoToken("sts.amazonaws.com".into()));
    let token = ProjectedToken {
        volume: "aws-iam-token".into(),
        path: "token".into(),
        audience: Some("sts.amazonaws.com".into()),
    };
    let with = Pod { tokens: vec![token.clone()], ..pod() };
    let SessionRequest::WebIdentity(request) =
        plan(SessionTags::Pod).request(&with, &grant).unwrap()
    else {
        panic!("another source");
    };
    assert_eq!(request.pod.mounted, Some(token));
    let asking = SessionPlan { token_requests: true, ..plan(SessionTags::Pod) };
    assert!(asking.request(&pod(), &grant).is_ok());
    let eks = Grant { rule: Rule::PodIdentity, way: Way::PodIdentity };
    let refused = plan(SessionTags::Pod).request(&with, &eks).unwrap_err();
    assert_eq!(refused, PlanError::NoToken("pods.eks.amazonaws.com".into()));
    let nameless = SessionPlan { cluster_name: None, ..asking };
    assert_eq!(nameless.request(&with, &eks).unwrap_err(), PlanError::NoClusterName);
}
