//! The definition of `RoleAssociation` refuses what it should with a sentence: its schema and its rules,
//! which are CEL, are put to the CEL of that language's makers. An API server that runs them is asked in
//! `roles.rs`, where there is one.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;
use serde_json::{Value, json};

const MANIFEST: &str = include_str!("../../deploy/crds/roleassociations.yaml");
const CASES: &str = include_str!("../../agent/src/roles/associations/definition/cases.json");
const CHECK: &str = include_str!("../src/definition/check.py");

/// What is wrong with each of these specs, by this schema.
fn judge(schema: &Value, specs: &[Value]) -> Result<Vec<Vec<String>>> {
    let variable = |name: &str| {
        std::env::var(name).with_context(|| format!("{name} is not set: run `cargo xtask test`"))
    };
    let mut python = Command::new(variable("PODROLE_PYTHON")?);
    python.env("PYTHONPATH", format!("{}/kubernetes", variable("PODROLE_CLIENTS")?));
    let objects: Vec<_> = specs.iter().map(|spec| json!({ "spec": spec })).collect();
    let asked = json!({ "schema": schema, "objects": objects }).to_string();
    let said = process::run(python.args(["-c", CHECK]), asked.as_bytes(), PATIENCE)?.ok()?;
    serde_json::from_str(&said).context(said)
}

fn schema() -> Result<Value> {
    let manifest: Value = serde_saphyr::from_str(MANIFEST)?;
    let schema = manifest.pointer("/spec/versions/0/schema/openAPIV3Schema");
    schema.cloned().context("a schema")
}

fn cases() -> Result<Vec<Value>> {
    Ok(serde_json::from_str(CASES)?)
}

fn specs(cases: &[Value]) -> Vec<Value> {
    cases.iter().map(|case| case["spec"].clone()).collect()
}

#[test]
fn each_case_is_judged_as_it_says() -> Result<()> {
    let cases = cases()?;
    for (case, said) in cases.iter().zip(judge(&schema()?, &specs(&cases))?) {
        match case["refused"].as_str() {
            None => ensure!(said.is_empty(), "{case}: {said:?}"),
            Some(why) => ensure!(said.iter().any(|it| it.contains(why)), "{case}: {said:?}"),
        }
    }
    Ok(())
}

/// Takes the rules out of a schema, and gives what they say.
fn take_rules(schema: &mut Value, messages: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let rules = fields.remove("x-kubernetes-validations");
            let rules = rules.as_ref().and_then(Value::as_array).into_iter().flatten();
            messages.extend(rules.filter_map(|it| Some(it["message"].as_str()?.to_owned())));
            fields.values_mut().for_each(|inner| take_rules(inner, messages));
        }
        Value::Array(all) => all.iter_mut().for_each(|inner| take_rules(inner, messages)),
        _ => {}
    }
}

#[test]
fn each_rule_is_needed_by_a_case() -> Result<()> {
    let (mut bare, mut rules) = (schema()?, Vec::new());
    take_rules(&mut bare, &mut rules);
    ensure!(rules.len() >= 12, "{rules:?}");
    let cases = cases()?;
    let (with, without) = (judge(&schema()?, &specs(&cases))?, judge(&bare, &specs(&cases))?);
    for rule in rules {
        let needed = with
            .iter()
            .zip(&without)
            .any(|(with, without)| with.as_slice() == [rule.as_str()] && without.is_empty());
        ensure!(needed, "no case is refused by this rule alone: {rule}");
    }
    Ok(())
}
