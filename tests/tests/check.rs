//! `podrole check` on a node that can run the agent, and on one that cannot.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::aws::STS_URL;
use podrole_tests::cluster::Cluster;
use podrole_tests::pretend::node;
use podrole_tests::process::{self, Finished};
use podrole_tests::wait::PATIENCE;
use serde_json::Value;

/// Runs it with the settings of the cluster's agents, then `more`.
fn check(cluster: &Cluster, kubeconfig: &str, more: &[&str]) -> Result<Finished> {
    let mut command = cluster.node_place().command(agent::binary()?)?;
    command.env("KUBECONFIG", kubeconfig);
    let keys = node::Keys::of_environment();
    command.env("AWS_REGION", node::REGION).env("AWS_ENDPOINT_URL_STS", STS_URL);
    command.env("AWS_ACCESS_KEY_ID", keys.id).env("AWS_SECRET_ACCESS_KEY", keys.secret);
    command.arg("check").args(more);
    if !more.contains(&"--pod-cgroup") {
        command.arg("--pod-cgroup").arg(cluster.pod_cgroup());
    }
    command.arg("--bpf-fs").arg(cluster.bpf_fs.path()).arg("--socket").arg(cluster.socket());
    process::run(&mut command, b"", PATIENCE)
}

fn outcome<'r>(report: &'r Value, check: &str) -> Result<&'r str> {
    let findings = report["findings"].as_array().context("no findings")?;
    let finding = findings.iter().find(|finding| finding["check"] == check);
    let finding = finding.with_context(|| format!("{check} in {report}"))?;
    finding["outcome"].as_str().context("no outcome")
}

#[test]
fn a_good_node_passes_and_a_bad_one_is_told_each_mend() -> Result<()> {
    Cluster::with(|cluster| {
        let kubeconfig = cluster.kubernetes.kubeconfig().display().to_string();
        let _agent = cluster.agent().start()?;
        let good = check(cluster, &kubeconfig, &["--output", "json"])?;
        let report: Value = serde_json::from_str(&good.text())?;
        for name in [
            "kernel",
            "capabilities",
            "pods' cgroup",
            "agent",
            "AWS identity",
            "API server",
            "rights",
        ] {
            ensure!(outcome(&report, name)? == "good", "{name}: {report}");
        }
        ensure!(outcome(&report, "metadata service")? == "good", "{report}");
        ensure!(report["good"] == true && good.status.success(), "{report}");

        let bad = check(cluster, "/nonexistent", &["--pod-cgroup", "/sys/fs/cgroup/nonexistent"])?;
        let text = bad.text();
        ensure!(bad.status.code() == Some(1), "{text}");
        ensure!(
            text.contains("FAIL  pods' cgroup") && text.contains("give --pod-cgroup"),
            "{text}"
        );
        ensure!(text.contains("FAIL  API server"), "{text}");
        ensure!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        Ok(())
    })
}
