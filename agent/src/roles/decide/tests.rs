//! The decision as a table: what the pod says, what the cluster says, which flags, and what comes of it.
//!
//! Words are separated by spaces. Of the pod: its annotations `role=`, `external=`, `session=`, the tokens
//! `irsa` and `eks`, a label `label=`, `host` network. Of the cluster: the association's role `ra=`, its
//! audit `audit=`, a broken one `ra-broken`; the Namespace's `permitted=`, `allowed=`, `label=`; the
//! ServiceAccount's `sa=` and `audience=`; `WHAT?` is not known yet, `WHAT!` forbidden, `WHAT-` absent.

mod rows;

use serde_json::json;

use self::rows::{
    ROWS_OF_ASSOCIATIONS, ROWS_OF_DEFAULTS, ROWS_OF_POD_ANNOTATIONS, ROWS_OF_POLICIES,
    ROWS_OF_TOKENS, Row,
};
use super::super::annotations::ExternalIdError;
use super::super::associations::Association;
use super::super::facts::{Known, Namespace, ServiceAccount};
use super::super::grant::{AssumeRole, Grant, Way};
use super::super::refusal::Reason;
use super::super::restrictions::pattern::Pattern;
use super::super::restrictions::{NamespacePolicy, Requirement};
use super::*;
use crate::callers::pods::ProjectedToken;

const BASE: &str = "arn:aws:iam::123456789012:role/";

/// `word=value` or a word.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().map(|word| word.split_once('=').unwrap_or((word, "")))
}

fn token(volume: &str, audience: &str) -> ProjectedToken {
    ProjectedToken { volume: volume.into(), path: "token".into(), audience: Some(audience.into()) }
}

fn pod(text: &str) -> Pod {
    let mut pod = Pod::fixture("web", &[]);
    for (word, value) in words(text) {
        pod = match word {
            "role" => pod.annotated("iam.amazonaws.com/role", &value.replace('~', " ")),
            "external" => pod.annotated("iam.amazonaws.com/external-id", value),
            "session" => pod.annotated("iam.amazonaws.com/session-name", value),
            "other" => pod.annotated("example.com/role", value),
            "host" => Pod { host_network: true, ..pod },
            "irsa" => Pod { tokens: vec![token("aws-iam-token", "sts.amazonaws.com")], ..pod },
            "irsa-cn" => Pod { tokens: vec![token("aws-iam-token", "sts.cn")], ..pod },
            "by-hand" => Pod { tokens: vec![token("mine", "sts.amazonaws.com")], ..pod },
            "eks" => {
                let volume = token("eks-pod-identity-token", "pods.eks.amazonaws.com");
                Pod { tokens: vec![volume], ..pod }
            }
            "vault" => Pod { tokens: vec![token("vault", "vault")], ..pod },
            "label" => {
                pod.labels.insert("team".into(), value.into());
                pod
            }
            _ => panic!("{word} of a pod"),
        };
    }
    pod
}

fn association(role: &str, more: &serde_json::Value) -> Known<Arc<Association>> {
    let arn = if role.starts_with("arn:") { role.into() } else { format!("{BASE}{role}") };
    let mut spec = json!({ "namespace": "default", "serviceAccount": "default", "roleArn": arn });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    Known::There(Arc::new(Association::read("assoc", &spec)))
}

fn unknown<T>(subject: Subject, forbidden: bool) -> Known<T> {
    let cause = if forbidden { Cause::Forbidden } else { Cause::Unanswered };
    Known::NotYet(Missing { subject, cause })
}

fn cluster(text: &str) -> Facts {
    let mut facts = Facts {
        association: Known::Absent,
        namespace: Known::Absent,
        service_account: Known::Absent,
        own_base: None,
    };
    let (mut permitted, mut allowed, mut account) = (None, None, ServiceAccount::default());
    let mut labels = std::collections::BTreeMap::new();
    for (word, value) in words(text) {
        match word {
            "ra" => facts.association = association(value, &json!({})),
            "audit" => facts.association = association(value, &json!({ "mode": "Audit" })),
            "ra-broken" => facts.association = association("x/", &json!({})),
            "ra-strange" => facts.association = association("x", &json!({ "newField": 1 })),
            "ra-target" => {
                facts.association =
                    association("first", &json!({ "targetRoleArn": format!("{BASE}{value}") }));
            }
            "ra?" => facts.association = unknown(Subject::RoleAssociations, false),
            "ra!" => facts.association = unknown(Subject::RoleAssociations, true),
            "ns" => {}
            "permitted" => permitted = Some(value),
            "allowed" => allowed = Some(value),
            "label" => drop(labels.insert("stage".into(), value.into())),
            "ns?" => facts.namespace = unknown(Subject::Namespace, false),
            "ns!" => facts.namespace = unknown(Subject::Namespace, true),
            "ns-" => facts.namespace = Known::Absent,
            "sa" => account.role = Some(value.into()),
            "audience" => account.audience = Some(value.into()),
            "sa?" => facts.service_account = unknown(Subject::ServiceAccount, false),
            "sa!" => facts.service_account = unknown(Subject::ServiceAccount, true),
            "own" => facts.own_base = Some(value.parse().unwrap()),
            _ => panic!("{word} of a cluster"),
        }
    }
    if words(text).any(|(word, _)| word == "ns")
        || permitted.or(allowed).is_some()
        || !labels.is_empty()
    {
        let policy = NamespacePolicy::read(permitted, allowed);
        facts.namespace =
            Known::There(Arc::new(Namespace { policy, labels, ..Namespace::default() }));
    }
    if account != ServiceAccount::default() {
        facts.service_account = Known::There(Arc::new(account));
    }
    facts
}

fn flags(text: &str) -> Rules {
    let mut rules = Rules::fixture();
    rules.restrictions.requirement = Requirement::Required;
    for (word, value) in words(text) {
        match word {
            "off" => rules.restrictions.requirement = Requirement::Off,
            "if-present" => rules.restrictions.requirement = Requirement::IfPresent,
            "permitted" => rules.restrictions.permitted = Some(Pattern::new(value).unwrap()),
            "default" => {
                let base = BASE.parse().unwrap();
                rules.default_role = Some(DefaultRole::new(value, Some(&base)).unwrap());
            }
            "base" if value == "auto" => rules.base = Base::Own,
            "base" if value == "none" => rules.base = Base::None,
            "base" => rules.base = Base::Given(value.parse().unwrap()),
            "request" => rules.requests_tokens = true,
            "sources" => rules
                .sources
                .retain(|source| value.split(',').any(|name| source.to_string() == name)),
            "tag" => rules.tags.pod.push(("team".into(), value.into())),
            "ns-tag" => rules.tags.namespace.push(("stage".into(), value.into())),
            _ => panic!("{word} of the flags"),
        }
    }
    rules
}

/// `RULE ROLE`, `refused RULE`, `not yet WHAT`, `none`; a role without the base of the test's account.
fn said(decision: &Decision) -> String {
    match decision {
        Decision::Granted(grant) => {
            let role = grant.role().map_or("?", |role| role.as_str());
            format!("{:?} {}", grant.rule, role.strip_prefix(BASE).unwrap_or(role))
        }
        Decision::None => "none".into(),
        Decision::Refused(refusal) => format!("refused {:?}", refusal.rule),
        Decision::NotYet(missing) => format!("not yet {:?}", missing.subject),
    }
}

#[track_caller]
fn check(rows: &[Row]) {
    for (of_pod, of_cluster, of_flags, expected) in rows {
        let (pod, facts, rules) = (pod(of_pod), cluster(of_cluster), flags(of_flags));
        let trace = rules.trace(&pod, &facts);
        let row = format!("pod {of_pod:?}, cluster {of_cluster:?}, flags {of_flags:?}");
        assert_eq!(said(&trace.decision), *expected, "{row}: {trace:?}");
        assert_eq!(rules.decide(&pod, &facts), trace.decision, "{row}");
        assert_eq!(trace.steps.len(), Rule::ALL.len());
        let ended = trace.steps.iter().filter(|step| step.verdict.clone().decision().is_some());
        assert!(ended.count() <= 1, "{row}: {trace:?}");
    }
}

#[test]
fn associations_come_first_and_end_the_search_if_broken_or_unknown() {
    check(ROWS_OF_ASSOCIATIONS);
}

#[test]
fn pod_annotations_are_read_as_kube2iam_and_kiam_do() {
    check(ROWS_OF_POD_ANNOTATIONS);
}

#[test]
fn namespace_policies_permit_or_end_the_search() {
    check(ROWS_OF_POLICIES);
}

#[test]
fn tokens_of_eks_and_of_service_accounts_come_after_annotations() {
    check(ROWS_OF_TOKENS);
}

#[test]
fn the_default_role_is_for_pods_that_nothing_maps() {
    check(ROWS_OF_DEFAULTS);
}

fn granted(of_pod: &str, of_cluster: &str, of_flags: &str) -> Grant {
    match flags(of_flags).decide(&pod(of_pod), &cluster(of_cluster)) {
        Decision::Granted(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn call(grant: Grant) -> AssumeRole {
    match grant.way {
        Way::AssumeRole(call) => *call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_annotations_say_reaches_the_call() {
    let call = call(granted("role=web external=id-1 session=me", "", "off"));
    assert_eq!(call.external_id.as_deref(), Some("id-1"));
    assert_eq!(call.session_name.as_deref(), Some("me"));
    let way = granted("irsa", "sa=arn:aws:iam::123456789012:role/sa audience=other", "").way;
    assert!(matches!(way, Way::WebIdentity { audience: Some(who), .. } if &*who == "other"));
}

#[test]
fn labels_become_tags_and_an_associations_own_stand_before_them() {
    let tags = |of_pod, of_cluster, of_flags| call(granted(of_pod, of_cluster, of_flags)).tags;
    let both = tags("role=web label=a", "label=prod", "off tag=Team ns-tag=stage");
    assert_eq!(both, [("stage".into(), "prod".into()), ("Team".into(), "a".into())]);
    assert_eq!(tags("role=web", "ns-", "off tag=Team ns-tag=stage"), []);

    let rules = flags("tag=TEAM");
    let own = json!({ "sessionTags": [{ "key": "team", "value": "operators" }] });
    let facts = Facts { association: association("web", &own), ..cluster("") };
    let Decision::Granted(grant) = rules.decide(&pod("label=mine"), &facts) else { panic!() };
    assert_eq!(call(grant).tags, [("team".into(), "operators".into())]);

    let untagged = association("web", &json!({ "disableSessionTags": true }));
    let facts = Facts { association: untagged, ..cluster("ns?") };
    let rules = flags("tag=team ns-tag=stage");
    let Decision::Granted(grant) = rules.decide(&pod("label=mine"), &facts) else { panic!() };
    assert_eq!(call(grant).tags, []);
}

#[test]
fn a_refusal_names_what_was_asked_what_is_wrong_and_the_mend() {
    let refusal = |of_pod: &str, of_cluster: &str| match flags("")
        .decide(&pod(of_pod), &cluster(of_cluster))
    {
        Decision::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let malformed = refusal("role=we~b", "").to_string();
    assert!(
        malformed.contains(r#"annotation iam.amazonaws.com/role="we b" of the pod"#),
        "{malformed}"
    );
    assert!(malformed.contains("role name"), "{malformed}");
    let unpermitted = refusal("role=web", "ns ");
    assert_eq!(unpermitted.role.as_ref().unwrap().name(), "web");
    assert!(unpermitted.to_string().contains("iam.amazonaws.com/permitted="), "{unpermitted}");
    let external = refusal("role=web external=a", "permitted=.*");
    assert_eq!(external.reason, Reason::ExternalId(ExternalIdError));
    let long = refusal(&format!("role={}", "x".repeat(10_000)), "").to_string();
    assert!(long.len() < 400, "{long}");
}

#[test]
fn a_trace_says_what_each_rule_said() {
    let trace = flags("").trace(&pod("role=web"), &cluster("audit=other permitted=.*"));
    let lines: Vec<String> =
        trace.steps.iter().map(|step| format!("{}: {}", step.rule, step.verdict)).collect();
    let expected = [
        "RoleAssociation: would give arn:aws:iam::123456789012:role/other (mode: Audit)",
        "pod annotation: gives arn:aws:iam::123456789012:role/web (permitted by the Namespace's policy)",
        "EKS Pod Identity: not asked: an earlier rule has decided",
        "ServiceAccount annotation: not asked: an earlier rule has decided",
        "default role: not asked: an earlier rule has decided",
    ];
    assert_eq!(lines, expected);
    let json = serde_json::to_value(&trace).unwrap();
    assert_eq!(json["steps"][1]["verdict"], "granted");
    assert_eq!(json["steps"][1]["rule"], "pod-annotation");
    assert_eq!(json["decision"]["outcome"], "granted");
    assert_eq!(json["decision"]["detail"]["way"]["source"], "sts");
    assert_eq!(json["decision"]["detail"]["way"]["role"], "arn:aws:iam::123456789012:role/web");
}
