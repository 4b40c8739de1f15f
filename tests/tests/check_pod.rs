//! `podrole check --pod` goes the way of a pod and says where it ends.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::cluster::Cluster;
use podrole_tests::pod::Pod;
use podrole_tests::process::{self, Process};
use podrole_tests::wait::PATIENCE;
use serde_json::Value;

/// Where a thief of the proxy's port listens.
const THIEF: &str = "10.0.0.10:9999";

/// A pod with a process, as every container has one.
fn running<'c>(cluster: &'c Cluster, name: &str) -> Result<(Pod<'c>, Process)> {
    let pod = cluster.pod(name).role(name).start()?;
    let sleeper = cluster.mirror_at(&pod, "127.0.0.1:9")?;
    Ok((pod, sleeper))
}

/// The outcome of each check in turn, `connection=bad`, and all that was found.
fn check(cluster: &Cluster, pod: &str) -> Result<(Vec<String>, String)> {
    let mut command = cluster.node_place().command(agent::binary()?)?;
    command.env("KUBECONFIG", cluster.kubernetes.kubeconfig());
    command.args(["check", "--output", "json", "--pod", pod]);
    command.arg("--pod-cgroup").arg(cluster.pod_cgroup());
    command.arg("--bpf-fs").arg(cluster.bpf_fs.path()).arg("--socket").arg(cluster.socket());
    let finished = process::run(&mut command, b"", PATIENCE)?;
    let said = finished.text();
    let report: Value = serde_json::from_str(&said).with_context(|| finished.stderr.clone())?;
    ensure!(report["good"] == finished.status.success(), "{said}");
    let findings = report["findings"].as_array().context("no findings")?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let outcomes = findings
        .iter()
        .map(|finding| format!("{}={}", text(finding, "check"), text(finding, "outcome")));
    Ok((outcomes.collect(), said))
}

fn nft(cluster: &Cluster, rules: &str) -> Result<()> {
    let mut command = cluster.node_place().command("nft")?;
    process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
    Ok(())
}

fn input_rule(verdict: &str) -> String {
    format!(
        "table inet policies {{ chain input {{ type filter hook input priority 0; \
         tcp dport 16925 {verdict}; }}\n}}\n"
    )
}

/// The last finding is `end`, and says so.
fn ends(cluster: &Cluster, pod: &str, end: &str, said: &[&str]) -> Result<()> {
    let (outcomes, all) = check(cluster, pod)?;
    ensure!(outcomes.last().is_some_and(|last| last == end), "{all}");
    for text in said {
        ensure!(all.contains(text), "{text:?} in {all}");
    }
    Ok(())
}

#[test]
fn the_way_of_a_pod_is_gone_to_its_end() -> Result<()> {
    Cluster::with(|cluster| {
        let (pod, _process) = running(cluster, "web")?;
        let metadata = "real metadata service";
        ends(cluster, "default/web", "connection=bad", &[metadata, "not redirected"])?;

        let agent = cluster.agent().start()?;
        let (outcomes, said) = check(cluster, "default/web")?;
        let good = ["pod", "cgroup", "connection", "arrival", "answer"];
        assert_eq!(outcomes, good.map(|check| format!("{check}=good")), "{said}");
        ensure!(said.contains("the role web") && said.contains("10.0.0.10:16925"), "{said}");
        let left = std::fs::read_dir(pod.whole_cgroup())?
            .filter_map(Result::ok)
            .any(|entry| entry.file_name() == "podrole-check");
        ensure!(!left, "its cgroup is left behind");

        let (_plain, _process) = {
            let pod = cluster.pod("plain").start()?;
            let process = cluster.mirror_at(&pod, "127.0.0.1:9")?;
            (pod, process)
        };
        ends(cluster, "default/plain", "answer=unsure", &["no role"])?;
        ends(cluster, "default/nobody", "pod=bad", &["there is no default/nobody"])?;
        cluster.pod("far").role("far").elsewhere("node-2")?;
        ends(cluster, "default/far", "cgroup=bad", &["node-2"])?;

        agent.kill()?;
        ends(cluster, "default/web", "connection=bad", &["no agent runs on this node"])
    })
}

#[test]
fn what_stands_in_the_way_of_a_pod_is_told() -> Result<()> {
    Cluster::with(|cluster| {
        let (_pod, _process) = running(cluster, "web")?;
        let _agent = cluster.agent().start()?;
        let to = "10.0.0.10:16925";
        nft(cluster, &input_rule("drop"))?;
        ends(cluster, "default/web", "connection=bad", &["no answer from", to, "NetworkPolicy"])?;
        nft(cluster, "delete table inet policies")?;
        nft(cluster, &input_rule("reject with tcp reset"))?;
        ends(cluster, "default/web", "connection=bad", &["not by the agent"])?;
        nft(cluster, "delete table inet policies")?;

        let _thief = cluster.squat(THIEF)?;
        nft(
            cluster,
            &format!(
                "table ip thief {{ chain prerouting {{ type nat hook prerouting priority dstnat; \
                 ip daddr 10.0.0.10 tcp dport 16925 dnat to {THIEF}; }}\n}}\n"
            ),
        )?;
        ends(cluster, "default/web", "arrival=bad", &[THIEF, "hostPort"])?;
        nft(cluster, "delete table ip thief")?;
        let (outcomes, said) = check(cluster, "default/web")?;
        ensure!(outcomes.last().is_some_and(|last| last == "answer=good"), "{said}");
        Ok(())
    })
}
