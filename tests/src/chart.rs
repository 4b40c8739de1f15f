//! The chart as its users have it: rendered by helm, checked by Kubernetes' schemas, its policies evaluated
//! by CEL's own implementation.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clients::{installed, setting};
use crate::process::{self, Finished};

/// Relative to [`root`].
pub const CHART: &str = "deploy/helm/podrole";
/// What every installation must say.
pub const LEAST: &str =
    "--set=mode=audit,clusterName=prod,image.repository=registry.example/podrole";

/// The patience with a tool, start-up of its runtime included.
const PATIENCE: Duration = Duration::from_mins(1);

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `helm` in the root of the checkout, with no cluster to ask.
///
/// # Errors
/// Where it is not installed.
pub fn helm(arguments: &[&str]) -> Result<Finished> {
    run(tool("helm")?.args(arguments), b"")
}

/// What `helm template` gives for the release `podrole` in the namespace `podrole`.
///
/// # Errors
/// What helm says against it.
pub fn template(arguments: &[&str]) -> Result<String> {
    let fixed = ["template", "podrole", CHART, "--namespace=podrole"];
    helm(&[fixed.as_slice(), arguments].concat())?.ok()
}

/// What `kubectl kustomize` gives for a directory.
///
/// # Errors
/// What kubectl says against it.
pub fn kustomize(directory: &str) -> Result<String> {
    run(tool("kubectl")?.args(["kustomize", directory]), b"")?.ok()
}

/// The objects of a text of many.
///
/// # Errors
/// Where it is no YAML.
pub fn objects(yaml: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).context("no YAML")?;
    Ok(all.into_iter().filter(|object| !object.is_null()).collect())
}

/// The one object of that kind and name.
///
/// # Errors
/// Where there is none.
pub fn object<'o>(objects: &'o [Value], kind: &str, name: &str) -> Result<&'o Value> {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).with_context(|| format!("no {kind} {name}"))
}

/// What Kubernetes of these versions, strictly, has against objects; kinds that are not its own are left
/// out.
///
/// # Errors
/// Where that cannot be told.
pub fn invalid(objects: &[Value], versions: &[&str]) -> Result<Vec<String>> {
    #[derive(Serialize)]
    struct Asked<'a> {
        objects: &'a [Value],
        versions: &'a [&'a str],
    }
    python(include_str!("chart/validate.py"), &Asked { objects, versions })
}

/// One evaluation: an expression with what it may name.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// In CEL.
    pub expression: String,
    /// Variables that are expressions, in this order.
    pub variables: Vec<(String, String)>,
    /// Values: `self`, `object`, `request`, …
    pub given: Value,
}

/// The values of these, in their order; an error of CEL is a text that begins with `error:`.
///
/// # Errors
/// Where CEL cannot be asked.
pub fn evaluate(evaluations: &[Evaluation]) -> Result<Vec<Value>> {
    let values: Vec<Value> = python(include_str!("chart/cel.py"), &evaluations)?;
    ensure!(values.len() == evaluations.len(), "{} values", values.len());
    Ok(values)
}

/// Asks a script that answers JSON with JSON.
///
/// # Errors
/// Where it fails.
pub fn python<A: DeserializeOwned>(script: &str, asked: &impl Serialize) -> Result<A> {
    let mut command = Command::new(setting("PODROLE_PYTHON")?);
    command.args(["-c", script]).env("PYTHONPATH", installed("kubernetes")?);
    let answer = run(&mut command, &serde_json::to_vec(asked)?)?.ok()?;
    serde_json::from_str(&answer).context(answer)
}

fn tool(name: &str) -> Result<Command> {
    let mut command = Command::new(installed("kubernetes")?.join("bin").join(name));
    // Whoever runs the tests may have a cluster.
    command.env("KUBECONFIG", "/nonexistent").current_dir(root());
    Ok(command)
}

fn run(command: &mut Command, input: &[u8]) -> Result<Finished> {
    process::run(command, input, PATIENCE)
}
