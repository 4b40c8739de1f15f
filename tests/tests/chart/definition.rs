//! What the rules of RoleAssociation's definition let pass and refuse, as CEL evaluates them.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::chart::{self, Evaluation, LEAST, object};
use serde_json::{Value, json};

use super::{list, text};

/// The rules of a schema's part and of all below, each with a place in `spec`.
fn rules(schema: &Value, place: &str, found: &mut Vec<(String, String, String)>) -> Result<()> {
    for rule in list(schema, "/x-kubernetes-validations") {
        let (rule, message) =
            (text(&rule, "/rule")?.to_owned(), text(&rule, "/message")?.to_owned());
        found.push((place.to_owned(), rule, message));
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, schema) in properties {
        rules(schema, &format!("{place}/{name}"), found)?;
    }
    if schema["items"].is_object() {
        rules(&schema["items"], &format!("{place}/0"), found)?;
    }
    Ok(())
}

/// The messages by which the definition's rules refuse this.
fn refusals(rules: &[(String, String, String)], spec: &Value) -> Result<Vec<String>> {
    let asked = rules.iter().filter_map(|(place, rule, message)| {
        let own = spec.pointer(place)?;
        let given = json!({ "self": own });
        Some((Evaluation { expression: rule.clone(), variables: Vec::new(), given }, message))
    });
    let (evaluations, messages): (Vec<_>, Vec<_>) = asked.unzip();
    let values = chart::evaluate(&evaluations)?;
    // An error refuses, too.
    let refused = values.iter().zip(messages).filter(|(value, _)| **value != true);
    Ok(refused.map(|(_, message)| message.clone()).collect())
}

/// The definition's own rules.
fn definition() -> Result<Vec<(String, String, String)>> {
    let objects = chart::objects(&chart::template(&[LEAST])?)?;
    let definition = object(&objects, "CustomResourceDefinition", "roleassociations.podrole.dev")?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut all = Vec::new();
    rules(&schema["properties"]["spec"], "", &mut all)?;
    ensure!(all.len() > 10, "{all:?}");
    Ok(all)
}

#[test]
fn the_associations_of_the_page_on_add_ons_are_taken() -> Result<()> {
    let rules = definition()?;
    let blocks = podrole_tests::docs::blocks("what-will-change.md")?;
    let block =
        blocks.iter().find(|block| block.info == "yaml associations").context("no block")?;
    let associations = chart::objects(&block.text)?;
    ensure!(associations.len() > 2, "{associations:?}");
    for association in associations {
        ensure!(association["kind"] == "RoleAssociation", "{association}");
        let refused = refusals(&rules, &association["spec"])?;
        ensure!(refused.is_empty(), "{association}: {refused:?}");
    }
    Ok(())
}

#[test]
fn the_definitions_rules_refuse_what_the_agent_would() -> Result<()> {
    let all = definition()?;
    let role = "arn:aws:iam::123456789012:role/team/web";
    let good = json!({
        "namespace": "shop", "serviceAccount": "cart.v2", "roleArn": role,
        "targetRoleArn": "arn:aws:iam::210987654321:role/data", "externalId": "a-1:b/c",
        "durationSeconds": 3600, "policy": " {\"Version\":\"2012-10-17\"}\n",
        "sessionTags": [{ "key": "Kostenstelle ä", "value": "7 = x" }],
        "disableSessionTags": false,
    });
    ensure!(refusals(&all, &good)?.is_empty(), "{:?}", refusals(&all, &good)?);
    let tag = |key: &str, value: &str| json!([{ "key": key, "value": value }]);
    let cases = [
        ("namespace", json!("*"), "no wildcard"),
        ("namespace", json!("Shop"), "no wildcard"),
        ("serviceAccount", json!("a*"), "name of a ServiceAccount"),
        ("roleArn", json!("web"), "must be a role's ARN"),
        ("roleArn", json!("arn:aws:iam::123:role/web"), "must be a role's ARN"),
        ("roleArn", json!("arn:aws:iam::123456789012:user/web"), "must be a role's ARN"),
        ("targetRoleArn", json!("arn:aws-cn:iam::210987654321:role/data"), "same partition"),
        ("targetRoleArn", json!("arn:aws:iam::210987654321:role/"), "must be a role's ARN"),
        ("externalId", json!("a b"), "externalId must be"),
        ("policy", json!("[]"), "a JSON object"),
        ("durationSeconds", json!(3601), "at most 3600"),
        ("disableSessionTags", json!(true), "exclude each other"),
        ("sessionTags", tag("Kubernetes-Namespace", "x"), "podrole sets them"),
        ("sessionTags", tag("aws:x", "x"), "not begin with aws:"),
        ("sessionTags", tag("a#", "x"), "letters, digits, spaces"),
        ("sessionTags", tag("a", "x;"), "value must be"),
    ];
    for (field, value, expected) in cases {
        let mut bad = good.clone();
        bad[field] = value;
        let said = refusals(&all, &bad)?;
        ensure!(said.iter().any(|said| said.contains(expected)), "{field}: {said:?} in {bad}");
    }
    Ok(())
}
