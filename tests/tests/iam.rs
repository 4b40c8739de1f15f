//! The policies of `deploy/iam`: what Terraform makes of them is what was reviewed, sound by what IAM knows,
//! and gives each source its least.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::chart;
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;
use serde_json::{Value, json};

fn directory() -> PathBuf {
    chart::root().join("deploy/iam")
}

fn example(name: &str) -> Result<Value> {
    let file = directory().join("examples").join(format!("{name}.json"));
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

/// Terraform, where this machine has it: no package registry does. It is told to ask nobody.
fn terraform(directory: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("terraform");
    command.args(arguments).current_dir(directory);
    command.envs([("CHECKPOINT_DISABLE", "1"), ("TF_CLI_CONFIG_FILE", "/dev/null")]);
    process::run(&mut command, b"", PATIENCE)?.ok().with_context(|| arguments.join(" "))
}

fn is_here() -> bool {
    let here = Command::new("terraform").arg("version").output().is_ok_and(|o| o.status.success());
    if !here {
        eprintln!("NOT RUN: terraform is not on this machine");
    }
    here
}

/// The documents that the policies' module makes of these variables, by name.
fn made(variables: &Value) -> Result<BTreeMap<String, Value>> {
    let place = tempfile::tempdir()?;
    for file in fs::read_dir(directory().join("policies"))? {
        let file = file?;
        fs::copy(file.path(), place.path().join(file.file_name()))?;
    }
    fs::write(place.path().join("given.tfvars.json"), variables.to_string())?;
    let quiet = ["-input=false", "-no-color"];
    terraform(place.path(), &[&["init"], quiet.as_slice()].concat())?;
    terraform(place.path(), &["validate", "-no-color"])?;
    let apply = ["apply", "-auto-approve", "-var-file=given.tfvars.json"];
    terraform(place.path(), &[&apply, quiet.as_slice()].concat())?;
    let outputs: Value = serde_json::from_str(&terraform(place.path(), &["output", "-json"])?)?;
    let mut documents = BTreeMap::new();
    for (name, output) in outputs.as_object().into_iter().flatten() {
        let name = name.replace('_', "-");
        match &output["value"] {
            Value::String(text) => drop(documents.insert(name, serde_json::from_str(text)?)),
            Value::Object(inner) => {
                for (key, text) in inner {
                    let text = text.as_str().context("no text")?;
                    documents.insert(format!("{name}-{key}"), serde_json::from_str(text)?);
                }
            }
            _ => {}
        }
    }
    Ok(documents)
}

const EXAMPLES: [&str; 6] =
    ["agent", "boundary", "service-control", "trust-cart", "trust-ledger", "trust-web"];

#[test]
fn the_examples_are_what_terraform_makes() -> Result<()> {
    if !is_here() {
        return Ok(());
    }
    terraform(&directory(), &["fmt", "-check", "-recursive", "-no-color"])?;
    let made = made(&example("variables")?)?;
    ensure!(made.keys().map(String::as_str).eq(EXAMPLES), "{:?}", made.keys());
    for (name, document) in made {
        if std::env::var_os("PODROLE_BLESS").is_some() {
            let file = directory().join("examples").join(format!("{name}.json"));
            fs::write(file, serde_json::to_string_pretty(&document)? + "\n")?;
        }
        let reviewed = example(&name)?;
        ensure!(
            document == reviewed,
            "{name} differs; read it and set PODROLE_BLESS=1: {document}"
        );
    }
    Ok(())
}

/// The actions that a document allows.
fn allowed(document: &Value) -> Vec<String> {
    let statements = document["Statement"].as_array().into_iter().flatten();
    let allows = statements.filter(|statement| statement["Effect"] == "Allow");
    let mut actions = Vec::new();
    for statement in allows {
        match &statement["Action"] {
            Value::String(action) => actions.push(action.clone()),
            Value::Array(all) => {
                actions.extend(all.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
    actions.sort();
    actions
}

#[test]
fn each_source_has_its_least() -> Result<()> {
    if !is_here() {
        return Ok(());
    }
    let mut variables = example("variables")?;
    let mut with = |sources: &[&str]| {
        variables["sources"] = json!(sources);
        made(&variables)
    };
    let sts = with(&["sts"])?;
    ensure!(allowed(&sts["agent"]) == ["sts:AssumeRole", "sts:TagSession"], "{:?}", sts["agent"]);
    let eks = with(&["eks-pod-identity"])?;
    let asks = ["eks-auth:AssumeRoleForPodIdentity"];
    ensure!(allowed(&eks["agent"]) == asks, "{:?}", eks["agent"]);
    let web = with(&["web-identity"])?;
    ensure!(!web.contains_key("agent"), "{:?}", web["agent"]);
    // Sessions by web identity have no tags, so that none can be demanded beside them.
    let demands = |made: &BTreeMap<String, Value>| {
        made["service-control"].to_string().contains("SessionsOfPodsSayWhoseTheyAre")
    };
    ensure!(demands(&sts) && demands(&eks) && !demands(&web));
    variables["sources"] = json!(["sts"]);
    for (name, bad) in [
        ("role_arns", json!(["*"])),
        ("role_arns", json!(["arn:aws:iam::123456789012:role/*"])),
        ("account_id", json!("1234")),
        ("sources", json!(["irsa"])),
        ("pod_role_path", json!("/")),
    ] {
        let mut wrong = variables.clone();
        wrong[name] = bad.clone();
        let refused = made(&wrong).err().with_context(|| format!("{name}={bad} is taken"))?;
        ensure!(format!("{refused:#}").contains("Invalid value for variable"), "{refused:#}");
    }
    Ok(())
}

/// What `parliament`, which knows IAM's actions, resources and conditions, has against a policy.
const FINDINGS: &str = "
import json, sys, parliament
findings = parliament.analyze_policy_string(json.dumps(json.load(sys.stdin))).findings
print(json.dumps([f'{finding.issue}: {finding.detail}' for finding in findings]))
";

#[test]
fn iam_knows_what_the_policies_name() -> Result<()> {
    let statement = |action: &str| json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
    let bad = json!({ "Version": "2012-10-17", "Statement": [statement("sts:AssumeRol")] });
    let found: Vec<String> = chart::python(FINDINGS, &bad)?;
    ensure!(found.iter().any(|found| found.starts_with("UNKNOWN_ACTION")), "{found:?}");
    for name in ["agent", "boundary", "service-control"] {
        let found: Vec<String> = chart::python(FINDINGS, &example(name)?)?;
        ensure!(found.is_empty(), "{name}: {found:?}");
    }
    Ok(())
}

#[test]
fn whoever_assumes_a_pods_role_says_for_whom() -> Result<()> {
    let variables = example("variables")?;
    for (name, whose) in variables["pod_roles"].as_object().context("no roles")? {
        let document = example(&format!("trust-{name}"))?;
        let statement = &document["Statement"][0];
        let equals = &statement["Condition"]["StringEquals"];
        let (namespace, account) = (&whose["namespace"], &whose["service_account"]);
        if whose["source"] == "web-identity" {
            let subject = equals
                .as_object()
                .and_then(|keys| keys.iter().find(|(key, _)| key.ends_with(":sub")));
            let (_, subject) = subject.context("no subject")?;
            let expected = format!("system:serviceaccount:{namespace}:{account}").replace('"', "");
            ensure!(*subject == *expected, "{name}: {subject}");
        } else {
            ensure!(
                equals["aws:RequestTag/kubernetes-namespace"] == *namespace,
                "{name}: {equals}"
            );
            ensure!(
                equals["aws:RequestTag/kubernetes-service-account"] == *account,
                "{name}: {equals}"
            );
            ensure!(
                equals["aws:RequestTag/eks-cluster-name"] == variables["cluster_name"],
                "{name}: {equals}"
            );
        }
        ensure!(!document.to_string().contains("\"AWS\":\"*\""), "{name} trusts everybody");
    }
    Ok(())
}
