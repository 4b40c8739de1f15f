//! Which values the chart takes, and that the agent takes them too.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::chart::{self, CHART, LEAST};
use podrole_tests::process;
use podrole_tests::wait::PATIENCE;
use serde_json::Value;

use crate::rendered::{PRESETS, environment};

/// Flags that are no setting: values of their own, or fixed by what the manifests mount.
const NO_SETTINGS: [&str; 8] = [
    "--bpf-fs",
    "--cluster-name",
    "--kubelet-dir",
    "--listen",
    "--mode",
    "--node-name",
    "--socket",
    "--state-dir",
];

/// As the schema calls it.
fn setting(flag: &str) -> String {
    let mut words = flag.trim_start_matches("--").split('-');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        name += &first.to_uppercase();
        name += rest;
    }
    name
}

/// The flags of `podrole agent`, by its own word.
fn flags() -> Result<BTreeSet<String>> {
    let help =
        process::run(Command::new(agent::binary()?).args(["agent", "--help"]), b"", PATIENCE)?
            .ok()?;
    let words = help.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
    let is_flag = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // What follows may be text that was wrapped before a flag.
    let names = words.filter_map(|line| line.split(|c| !is_flag(c)).next());
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn the_settings_are_the_agents_flags() -> Result<()> {
    let schema = fs::read_to_string(chart::root().join(CHART).join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&schema)?;
    let settings = schema.pointer("/properties/settings/properties").and_then(Value::as_object);
    let settings: BTreeSet<String> = settings.context("no settings")?.keys().cloned().collect();
    let flags = flags()?;
    ensure!(flags.len() > 30, "{flags:?}");
    let mut known: BTreeSet<&str> = flags.iter().map(String::as_str).collect();
    for fixed in NO_SETTINGS {
        ensure!(known.remove(fixed), "{fixed} is no flag");
    }
    let expected: BTreeSet<String> = known.into_iter().map(setting).collect();
    ensure!(settings == expected, "settings {settings:?}\nflags {expected:?}");
    Ok(())
}

/// Starts an agent that has one more mistake in its settings: it tells all of them, and no more.
fn mistakes(environment: &[(String, String)]) -> Result<String> {
    let mut command = Command::new(agent::binary()?);
    command.args(["agent", "--session-duration=1s"]).env_clear();
    command.env("NODE_NAME", "node-1").envs(environment.iter().cloned());
    let ended = process::run(&mut command, b"", PATIENCE)?;
    ensure!(ended.status.code() == Some(2), "{ended:?}");
    Ok(ended.stderr)
}

#[test]
fn the_agent_takes_what_the_chart_sets() -> Result<()> {
    let told = mistakes(&[("PODROLE_NAMESPACE_POLICY".to_owned(), "no".to_owned())])?;
    for wrong in ["--namespace-policy", "--cluster-name"] {
        ensure!(told.contains(wrong), "{told}");
    }
    let everything = "--values=tests/snapshots/chart/everything.values.yaml";
    for values in PRESETS.iter().map(|preset| format!("--values={CHART}/presets/{preset}.yaml")) {
        let rendered = chart::template(&[&values, LEAST])?;
        let told = mistakes(&environment(&chart::objects(&rendered)?)?)?;
        ensure!(told.matches("--").count() == 1, "{values}: {told}");
    }
    let told = mistakes(&environment(&chart::objects(&chart::template(&[everything])?)?)?)?;
    ensure!(told.matches("--").count() == 1, "{told}");
    Ok(())
}

#[test]
fn a_bad_value_is_refused_by_name() -> Result<()> {
    let cases: [(&[&str], &str); 17] = [
        (&[], "missing property 'mode: audit looks, enforce acts; start with --set mode=audit'"),
        (&[], "missing property 'clusterName: it is the session tag eks-cluster-name"),
        (&[], "missing property 'repository: where you keep podrole"),
        (&[LEAST, "--set=mode=watch"], "'/mode': value must be one of 'audit', 'enforce', 'off'"),
        (&[LEAST, "--set=mode="], "'mode: audit looks, enforce acts; start with --set mode=audit'"),
        (&[LEAST, "--set=Mode=audit"], "additional properties 'Mode' not allowed"),
        (&[LEAST, "--set=settings.imdsv1=deny"], "'imdsv1' not allowed"),
        (&[LEAST, "--set=settings.imdsV1=no"], "'/settings/imdsV1': value must be one of"),
        (&[LEAST, "--set=settings.podRps=many"], "'/settings/podRps': got string, want integer"),
        (&[LEAST, "--set=settings.sources=sts"], "'/settings/sources': got string, want array"),
        (&[LEAST, "--set=settings.sources={irsa}"], "'/settings/sources/0': value must be one of"),
        (&[LEAST, "--set=settings.baseRoleArn=role/x"], "'/settings/baseRoleArn'"),
        (
            &[LEAST, "--set=settings.hostNetworkExempt={kube-system}"],
            "'/settings/hostNetworkExempt/0'",
        ),
        (&[LEAST, "--set=resources.limits.cpu=1"], "'/resources/limits/cpu'"),
        (&[LEAST, "--set=platform=windows"], "'/platform': value must be one of"),
        (&[LEAST, "--set=image.digest=sha256:1"], "'/image/digest'"),
        (&[LEAST, "--set-string=privileged=yes"], "'/privileged': got string, want boolean"),
    ];
    for (arguments, expected) in cases {
        let fixed = ["template", "podrole", CHART];
        let refused = chart::helm(&[fixed.as_slice(), arguments].concat())?;
        ensure!(!refused.status.success(), "{arguments:?} is taken");
        ensure!(refused.stderr.contains(expected), "{arguments:?}: {}", refused.stderr);
    }
    // Without the schema the template says it.
    let refused = chart::helm(&["template", "podrole", CHART, "--skip-schema-validation"])?;
    let sentence = "mode is required and has no default: audit looks, enforce acts";
    ensure!(refused.stderr.contains(sentence), "{}", refused.stderr);
    // Where they cannot be fenced, the agent is not given the rights.
    for feature in ["serviceAccountTokens=request", "startupTaint=podrole.dev/not-ready"] {
        let set = format!("--set=settings.{feature}");
        let old = ["template", "podrole", CHART, LEAST, &set, "--kube-version=1.29"];
        let refused = chart::helm(&old)?;
        let sentence = "needs ValidatingAdmissionPolicies (Kubernetes 1.30)";
        ensure!(refused.stderr.contains(sentence), "{}", refused.stderr);
    }
    Ok(())
}

#[test]
fn helm_finds_nothing_to_say_against_the_chart() -> Result<()> {
    chart::helm(&["lint", "--strict", CHART, LEAST])?.ok()?;
    Ok(())
}
