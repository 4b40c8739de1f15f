//! What `podrole explain` prints, as files that people have read.

use std::path::Path;

use crate::callers::host_network::HostNetwork;
use crate::callers::pods::{Pod, ProjectedToken};
use crate::credentials::plan::{SessionPlan, SessionTags};
use crate::credentials::trust::Known;
use crate::roles::{BaseRoleArn, Facts, Known as Fact, Rules};

use super::super::text::Paint;
use super::*;

const ROLE: &str = "iam.amazonaws.com/role";
const NODE: &str = "arn:aws:sts::111122223333:assumed-role/nodes/i-0123456789abcdef0";
const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE";

fn pod() -> Pod {
    Pod {
        namespace: "shop".into(),
        name: "web-0".into(),
        service_account: "cart".into(),
        ..Pod::fixture("0f3c9b1e", &[])
    }
}

fn plan() -> SessionPlan {
    SessionPlan {
        tags: SessionTags::Pod,
        untagged_fallback: false,
        transitive: false,
        cluster_name: Some("prod".into()),
        cluster_arn: None,
        duration: std::time::Duration::from_hours(1),
        token_requests: false,
    }
}

fn explain(rules: &Rules, pod: &Pod, facts: &Facts) -> Explanation {
    let known = Known { identity: Some(NODE), issuer: Some(ISSUER) };
    let host_network = &HostNetwork::default();
    let about = About { told_by: "the agent on node-1", plan: &plan(), host_network, known };
    compose(pod, &rules.trace(pod, facts), about)
}

fn nothing() -> Facts {
    Facts {
        association: Fact::Absent,
        namespace: Fact::Absent,
        service_account: Fact::Absent,
        ..Facts::unanswered()
    }
}

/// Compares with a reviewed file. `PODROLE_BLESS=1` writes it anew, to be read and committed.
#[track_caller]
fn check(name: &str, explanation: &Explanation) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/snapshots/explain");
    for (ending, said) in [
        ("txt", explanation.show(Paint::none())),
        ("json", serde_json::to_string_pretty(explanation).unwrap() + "\n"),
    ] {
        // A policy is to be pasted as it is.
        let mut lines = said.lines().take_while(|line| !line.starts_with("Trust policy"));
        assert!(ending == "json" || lines.all(|line| line.chars().count() <= 100), "{said}");
        let file = directory.join(format!("{name}.{ending}"));
        if std::env::var_os("PODROLE_BLESS").is_some() {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&file, &said).unwrap();
        }
        let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(said, reviewed, "{} differs; read it and set PODROLE_BLESS=1", file.display());
    }
    let json = serde_json::to_string(explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), *explanation);
}

#[test]
fn a_pod_with_an_annotation() {
    let explanation = explain(&Rules::fixture(), &pod().annotated(ROLE, "team/web"), &nothing());
    assert!(explanation.is_good());
    check("annotation", &explanation);
}

#[test]
fn a_pod_that_aws_refuses() {
    let mut explanation = explain(&Rules::fixture(), &pod().annotated(ROLE, "web"), &nothing());
    let error = format!(
        "AccessDenied: User: {NODE} is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/web"
    );
    explanation.session = Some(SessionStatus {
        state: "refused".into(),
        access_key_id: None,
        expires: None,
        untagged: false,
        error: Some(error),
    });
    let several = ["the role does not exist: STS does not tell; look for a slip in its name, path or account".to_owned(), "its trust policy does not allow sts:AssumeRole to the identity of podrole on this node: add it as principal".to_owned()];
    explanation.advice = crate::credentials::advice::sentence(&several);
    assert!(!explanation.is_good());
    check("refused-by-aws", &explanation);
}

#[test]
fn a_pod_whose_role_is_refused() {
    let explanation = explain(&Rules::fixture(), &pod().annotated(ROLE, "no role"), &nothing());
    assert!(!explanation.is_good());
    check("refused", &explanation);
}

#[test]
fn a_pod_that_nothing_maps() {
    let explanation = explain(&Rules::fixture(), &pod(), &nothing());
    assert!(explanation.is_good());
    check("nothing", &explanation);
}

#[test]
fn a_pod_whose_namespace_is_not_known_yet() {
    let base: BaseRoleArn = "arn:aws:iam::123456789012:role/".parse().unwrap();
    let mut rules = Rules::fixture();
    rules.base = crate::roles::Base::Given(base);
    let facts = Facts { association: Facts::unanswered().association, ..nothing() };
    let explanation = explain(&rules, &pod().annotated(ROLE, "web"), &facts);
    assert!(!explanation.is_good());
    check("not-yet", &explanation);
}

#[test]
fn a_pod_in_the_nodes_network() {
    let pod = Pod { host_network: true, ..pod().annotated(ROLE, "web") };
    check("host-network", &explain(&Rules::fixture(), &pod, &nothing()));
}

#[test]
fn a_pod_by_the_settings_of_the_agents() {
    let mut explanation =
        explain(&Rules::fixture(), &pod().annotated(ROLE, "team/web"), &nothing());
    explanation.told_by =
        "the settings of DaemonSet podrole/podrole: exec in its pods is not allowed".into();
    explanation.unknown = vec![
        "the state of the pod's credentials".into(),
        "--cluster-arn: PODROLE_CLUSTER_ARN comes from another object".into(),
        "--base-role-arn=auto: the account of the agent's own identity".into(),
    ];
    assert!(explanation.is_good());
    check("by-settings", &explanation);
}

#[test]
fn a_pod_with_an_irsa_service_account() {
    let token = ProjectedToken {
        volume: "aws-iam-token".into(),
        path: "token".into(),
        audience: Some("sts.amazonaws.com".into()),
    };
    let account = crate::roles::facts::ServiceAccount {
        role: Some("arn:aws:iam::123456789012:role/cart".into()),
        audience: None,
    };
    let facts = Facts { service_account: Fact::There(std::sync::Arc::new(account)), ..nothing() };
    let explanation = explain(&Rules::fixture(), &Pod { tokens: vec![token], ..pod() }, &facts);
    check("irsa", &explanation);
}

#[test]
fn a_pod_with_an_eks_association() {
    let token = ProjectedToken {
        volume: "eks-pod-identity-token".into(),
        path: "eks-pod-identity-token".into(),
        audience: Some("pods.eks.amazonaws.com".into()),
    };
    let explanation = explain(&Rules::fixture(), &Pod { tokens: vec![token], ..pod() }, &nothing());
    check("pod-identity", &explanation);
}
