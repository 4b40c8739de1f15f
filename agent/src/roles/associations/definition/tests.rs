//! Specs, good and bad, as they reach the agent.

use serde_json::{Value, json};

use super::*;
use crate::roles::annotations::ExternalIdError;
use crate::roles::arn::ArnError;
use crate::roles::associations::index::Record;
use crate::roles::tags::TagError;

const ROLE: &str = "arn:aws:iam::123456789012:role/cart";
const TARGET: &str = "arn:aws:iam::210987654321:role/cart";

/// The least that is enough, with `changes`.
fn spec(changes: &Value) -> Value {
    let mut spec = json!({ "namespace": "shop", "serviceAccount": "cart", "roleArn": ROLE });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn read(changes: &Value) -> Result<AssumeRole, AssociationError> {
    Association::read("a", &spec(changes)).call
}

#[test]
fn the_least_that_is_enough_gives_the_role() {
    let association = Association::read("a", &spec(&json!({})));
    assert_eq!(association.call, Ok(AssumeRole::plain(ROLE.parse().unwrap())));
    assert!(!association.audit);
}

#[test]
fn every_field_reaches_the_call() {
    let call = read(&json!({
        "targetRoleArn": TARGET, "externalId": "id-1", "durationSeconds": 1800,
        "sessionTags": [{ "key": "team", "value": "a b" }], "transitiveSessionTags": true,
        "policy": r#"{"Version":"2012-10-17","Statement":[]}"#,
    }));
    let expected = AssumeRole {
        target: Some(TARGET.parse().unwrap()),
        external_id: Some("id-1".into()),
        tags: vec![("team".into(), "a b".into())],
        transitive: Some(true),
        duration: Some(Duration::from_mins(30)),
        policy: Some(r#"{"Version":"2012-10-17","Statement":[]}"#.into()),
        ..AssumeRole::plain(ROLE.parse().unwrap())
    };
    assert_eq!(call, Ok(expected));
    assert!(read(&json!({ "disableSessionTags": true })).unwrap().untagged);
    assert!(Association::read("a", &spec(&json!({ "mode": "Audit" }))).audit);
}

#[test]
fn each_mistake_is_refused_with_its_reason() {
    use AssociationError as E;
    let tag = |key: &str, value: &str| json!({ "sessionTags": [{ "key": key, "value": value }] });
    let refused = |key: &str, error| E::Tag { key: key.into(), error };
    for (changes, error) in [
        (json!({ "roleArn": "cart" }), E::Role { field: "roleArn", error: ArnError::Form }),
        (
            json!({ "targetRoleArn": format!("{TARGET}\n") }),
            E::Role { field: "targetRoleArn", error: ArnError::Name },
        ),
        (
            json!({ "targetRoleArn": "arn:aws-cn:iam::210987654321:role/cart" }),
            E::Partitions { role: "aws".into(), target: "aws-cn".into() },
        ),
        (json!({ "externalId": "a b" }), E::ExternalId(ExternalIdError)),
        (tag("", "x"), refused("", TagError::Key)),
        (tag("aws:x", "x"), refused("aws:x", TagError::Aws)),
        (tag("KUBERNETES-NAMESPACE", "x"), refused("KUBERNETES-NAMESPACE", TagError::Reserved)),
        (tag("team", "a,b"), refused("team", TagError::Value)),
        (
            json!({ "sessionTags": [{ "key": "a", "value": "" }, { "key": "A", "value": "" }] }),
            refused("A", TagError::Twice),
        ),
        (
            json!({ "disableSessionTags": true, "sessionTags": [{ "key": "a", "value": "b" }] }),
            E::TagsDisabled,
        ),
        (json!({ "durationSeconds": 899 }), E::Duration(899)),
        (json!({ "durationSeconds": 43_201 }), E::Duration(43_201)),
        (json!({ "durationSeconds": -1 }), E::Duration(-1)),
        (json!({ "durationSeconds": 3601, "targetRoleArn": TARGET }), E::Duration(3601)),
        (json!({ "policy": "[]" }), E::Policy),
        (json!({ "policy": "{" }), E::Policy),
        (json!({ "policy": format!("{{\"a\":\"{}\"}}", "x".repeat(2048)) }), E::Policy),
    ] {
        assert_eq!(read(&changes), Err(error), "{changes}");
    }
    let many: Vec<_> = (0..45).map(|n| json!({ "key": format!("k{n}"), "value": "" })).collect();
    assert_eq!(read(&json!({ "sessionTags": many })), Err(E::TooManyTags(45)));
}

#[test]
fn what_is_of_another_shape_is_refused_and_never_passed_over() {
    for changes in [
        json!({ "roleArn": null }),
        json!({ "roleArn": 1 }),
        json!({ "mode": "Sometimes" }),
        json!({ "sessionTags": { "team": "a" } }),
        json!({ "sessionTags": [{ "key": "a", "value": "b", "more": 1 }] }),
        json!({ "durationSeconds": "1h" }),
        json!({ "permissionsBoundary": "arn:aws:iam::123456789012:policy/x" }),
    ] {
        assert!(matches!(read(&changes), Err(AssociationError::Spec(_))), "{changes}");
    }
    for spec in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(Association::read("a", &spec).call.is_err(), "{spec}");
    }
}

/// `cargo xtask manifests` writes it anew.
#[test]
fn the_manifest_is_that_of_the_definition() {
    use kube::CustomResourceExt as _;
    let manifest = include_str!("../../../../../deploy/crds/roleassociations.yaml");
    let manifest: Value = serde_saphyr::from_str(manifest).unwrap();
    assert_eq!(manifest, serde_json::to_value(RoleAssociation::crd()).unwrap());
}

#[test]
fn the_fields_are_those_of_the_definition() {
    use kube::CustomResourceExt as _;
    let definition = serde_json::to_value(RoleAssociation::crd()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let properties = schema["properties"]["spec"]["properties"].as_object().unwrap();
    let mut known: Vec<&str> = properties.keys().map(String::as_str).collect();
    let mut fields = FIELDS;
    known.sort_unstable();
    fields.sort_unstable();
    assert_eq!(known, fields);
}

/// The same cases are put to the definition itself, by the makers' own CEL, in `tests/tests/definition.rs`.
#[test]
fn the_agent_refuses_whatever_the_definition_refuses() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("cases.json")).unwrap();
    for case in cases {
        let refused = case.get("refused").or_else(|| case.get("refusedByTheAgentAlone"));
        let record =
            Record::read("u", "a", std::time::SystemTime::UNIX_EPOCH, case["spec"].clone());
        let read = record.map(|record| record.association.call.clone());
        // Of a namespace or ServiceAccount that cannot be, there are no pods.
        let names = refused.and_then(Value::as_str).is_some_and(|why| {
            why.starts_with("namespace must") || why.starts_with("serviceAccount must")
        });
        let names = names || case["spec"]["namespace"].as_str().is_some_and(|it| it.len() > 63);
        let is_good = matches!(read, Some(Ok(_)));
        assert_eq!(is_good, refused.is_none() || names, "{case}: {read:?}");
    }
}
