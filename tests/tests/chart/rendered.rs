//! What is rendered: valid, reviewed, and the same by every way.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use podrole_tests::chart::{self, CHART, LEAST, object};
use serde_json::{Value, json};

/// Of the chart; each has an overlay of its name.
pub(crate) const PRESETS: [&str; 3] = ["eks", "self-managed", "kube2iam-compatible"];

/// Kubernetes from the first with `ValidatingAdmissionPolicy` to the newest that is known.
const VERSIONS: [&str; 3] = ["1.30", "1.33", "1.37"];
/// The oldest that the chart takes.
const OLDEST: &str = "1.25";

const EVERYTHING: &str = "--values=tests/snapshots/chart/everything.values.yaml";

/// Names with the arguments of helm.
const RENDERED: [(&str, &[&str]); 5] = [
    ("least", &[LEAST]),
    ("everything", &[EVERYTHING]),
    ("privileged", &[LEAST, "--set=privileged=true,platform=plain"]),
    ("openshift", &[LEAST, "--set=platform=openshift"]),
    ("oldest", &[LEAST, "--kube-version=1.25"]),
];

/// What is reviewed where it comes from.
const ELSEWHERE: [&str; 3] =
    ["templates/crd.yaml", "templates/prometheusrule.yaml", "templates/dashboard.yaml"];

/// The variables of the agent's container that have a value of their own.
pub(crate) fn environment(objects: &[Value]) -> Result<Vec<(String, String)>> {
    let container =
        &object(objects, "DaemonSet", "podrole")?["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().context("no env")?;
    let text = |variable: &Value, key: &str| variable[key].as_str().map(str::to_owned);
    let pairs = variables.iter().map(|v| Some((text(v, "name")?, text(v, "value")?)));
    Ok(pairs.flatten().collect())
}

/// Compares with a reviewed file. `PODROLE_BLESS=1` writes it anew, to be read and committed.
fn check(name: &str, rendered: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots/chart").join(name);
    if std::env::var_os("PODROLE_BLESS").is_some() {
        fs::write(&file, rendered)?;
    }
    let reviewed = fs::read_to_string(&file).unwrap_or_default();
    ensure!(rendered == reviewed, "{} differs; read it and set PODROLE_BLESS=1", file.display());
    Ok(())
}

#[test]
fn every_object_is_valid_and_as_it_was_reviewed() -> Result<()> {
    let wrong = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "wrong" },
        "spec": { "selector": {}, "template": { "spec": { "containers": [], "hostNetwrk": true } } }
    });
    let found = chart::invalid(&[wrong], &VERSIONS)?;
    ensure!(found.len() == VERSIONS.len(), "the check finds nothing: {found:?}");
    for (name, arguments) in RENDERED {
        let rendered = chart::template(arguments)?;
        let objects = chart::objects(&rendered)?;
        let versions: &[&str] = if name == "oldest" { &[OLDEST] } else { &VERSIONS };
        let found = chart::invalid(&objects, versions)?;
        ensure!(found.is_empty(), "{name}: {found:#?}");
        let is_elsewhere = |text: &str| ELSEWHERE.iter().any(|template| text.contains(template));
        let parts = rendered.split_inclusive("---\n");
        let reviewed: Vec<&str> = parts.filter(|text| !is_elsewhere(text)).collect();
        let reviewed = reviewed.concat();
        let lines = reviewed.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        check(&format!("{name}.yaml"), &(lines.trim_end().to_owned() + "\n"))?;
    }
    Ok(())
}

/// What the API server refuses beyond its schemas, and what would break an update.
#[test]
fn the_agents_pod_can_run_beside_its_successor() -> Result<()> {
    for (name, arguments) in RENDERED {
        let objects = chart::objects(&chart::template(arguments)?)?;
        let spec = &object(&objects, "DaemonSet", "podrole")?["spec"];
        let pod = &spec["template"]["spec"];
        let container = &pod["containers"][0];
        ensure!(container["ports"].is_null(), "{name}: each port is a hostPort");
        ensure!(container["resources"]["limits"]["cpu"].is_null(), "{name}: throttled");
        ensure!(pod["hostNetwork"] == true && pod["dnsPolicy"] == "Default", "{name}");
        let update = &spec["updateStrategy"]["rollingUpdate"];
        ensure!(update["maxUnavailable"] == 0 && update["maxSurge"] == "10%", "{name}: {update}");
        let context = &container["securityContext"];
        ensure!(context["readOnlyRootFilesystem"] == true, "{name}");
        // "Bidirectional mount propagation is available only to privileged containers."
        let mounts = container["volumeMounts"].as_array().context("no mounts")?;
        let propagated = mounts.iter().any(|mount| mount["mountPropagation"] == "Bidirectional");
        ensure!(propagated == (context["privileged"] == true), "{name}: {mounts:?}");
        let pods = mounts.iter().find(|mount| mount["name"] == "kubelet-pods");
        let pods = pods.context("no pods' directory")?;
        ensure!(pods["readOnly"] == true, "{name}: {pods}");
        ensure!(pods["mountPropagation"] == "HostToContainer", "{name}: {pods}");
        for probe in ["readinessProbe", "livenessProbe", "startupProbe"] {
            let probe = &container[probe];
            ensure!(probe.is_null() || probe["exec"].is_object(), "{name}: {probe}");
        }
    }
    Ok(())
}

#[test]
fn the_definition_is_kept_when_the_chart_goes_and_is_the_generated_one() -> Result<()> {
    let objects = chart::objects(&chart::template(&[LEAST])?)?;
    let ours = object(&objects, "CustomResourceDefinition", "roleassociations.podrole.dev")?;
    ensure!(ours["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "{ours}");
    let read = |path: &str| fs::read_to_string(chart::root().join(path)).context(path.to_owned());
    let generated = read("deploy/crds/roleassociations.yaml")?;
    ensure!(generated == read(&format!("{CHART}/files/roleassociations.yaml"))?, "two definitions");
    let generated: Value = serde_saphyr::from_str(&generated)?;
    // YAML knows one number where JSON has `43200.0` and `43200`.
    let numbers = |object: &Value| object["spec"].to_string().replace(".0,", ",");
    ensure!(numbers(ours) == numbers(&generated), "the chart's definition is another");
    Ok(())
}

#[test]
fn the_alerts_and_the_dashboard_are_those_of_the_repository() -> Result<()> {
    let objects = chart::objects(&chart::template(&[EVERYTHING])?)?;
    let read = |file: &str| {
        let path = chart::root().join("deploy/observability").join(file);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let alerts: Value = serde_saphyr::from_str(&read("alerts.yaml")?)?;
    let rule = object(&objects, "PrometheusRule", "podrole")?;
    ensure!(rule["spec"] == alerts, "{rule:#}");
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")?)?;
    let map = object(&objects, "ConfigMap", "podrole-dashboard")?;
    let ours = map["data"]["podrole.json"].as_str().context("no dashboard")?;
    ensure!(serde_json::from_str::<Value>(ours)? == dashboard, "another dashboard");
    Ok(())
}

/// Without what says that helm applied it.
fn plain(yaml: &str) -> Result<Vec<Value>> {
    let mut objects = chart::objects(yaml)?;
    let strip = |labels: &mut Value| {
        if let Some(labels) = labels.as_object_mut() {
            labels.retain(|key, _| key != "helm.sh/chart" && key != "app.kubernetes.io/managed-by");
        }
    };
    for object in &mut objects {
        strip(&mut object["metadata"]["labels"]);
        if object["kind"] == "DaemonSet" {
            let template = &mut object["spec"]["template"];
            strip(&mut template["metadata"]["labels"]);
            let variables = template["spec"]["containers"][0]["env"].as_array_mut();
            variables.context("no env")?.sort_by_key(|v| v["name"].to_string());
        }
    }
    objects.sort_by_key(|o| format!("{} {}", o["kind"], o["metadata"]["name"]));
    Ok(objects)
}

fn same(what: &str, found: &[Value], expected: &[Value]) -> Result<()> {
    for (this, that) in found.iter().zip(expected) {
        let (kind, name) = (&this["kind"], &this["metadata"]["name"]);
        ensure!(this == that, "{what}: {kind} {name}:\n{this:#}\n{that:#}");
    }
    ensure!(found.len() == expected.len(), "{what}: {} and {}", found.len(), expected.len());
    Ok(())
}

/// As `cargo xtask manifests` renders them.
const UNNAMED: [&str; 2] = ["--skip-schema-validation", "--set=image.repository=podrole"];

#[test]
fn what_is_applied_without_helm_is_what_the_chart_renders() -> Result<()> {
    let ours = |arguments: &[&str]| plain(&chart::template(&[&UNNAMED, arguments].concat())?);
    let base = "--set=mode=audit,namespace.create=true";
    same("base", &plain(&chart::kustomize("deploy/kustomize/base")?)?, &ours(&[base])?)?;
    for preset in PRESETS {
        let overlay = plain(&chart::kustomize(&format!("deploy/kustomize/overlays/{preset}"))?)?;
        let values = format!("--values={CHART}/presets/{preset}.yaml");
        same(preset, &overlay, &ours(&[base, &values])?)?;
    }
    let rights = fs::read_to_string(chart::root().join("deploy/rbac.yaml"))?;
    let shown =
        ["namespace", "serviceaccount", "rbac"].map(|t| format!("--show-only=templates/{t}.yaml"));
    let [a, b, c] = shown.each_ref().map(String::as_str);
    let off_ec2 = "--set=settings.metadataEndpoint=none";
    same("rbac.yaml", &plain(&rights)?, &ours(&[base, off_ec2, a, b, c])?)?;
    let node = fs::read_to_string(chart::root().join("deploy/rbac-node.yaml"))?;
    let taint = "--set=settings.startupTaint=podrole.dev/not-ready";
    let shown = "--show-only=templates/node.yaml";
    same("rbac-node.yaml", &plain(&node)?, &ours(&[base, taint, shown])?)?;
    if plain(&rights)?.is_empty() {
        bail!("deploy/rbac.yaml is empty");
    }
    Ok(())
}
