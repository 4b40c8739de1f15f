//! A pod whose connections do not arrive is told of by name.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::METADATA;
use podrole_tests::pod::Pod;
use podrole_tests::process;
use podrole_tests::wait::{self, PATIENCE};

/// What a `NetworkPolicy` comes to that does not let the pod reach its node.
fn cut_off(cluster: &Cluster, pod: &Pod<'_>) -> Result<()> {
    let v4 = pod.address().context("a pod has addresses")?.v4();
    let rules = format!(
        "table inet policies {{ chain input {{ type filter hook input priority 0; \
         ip saddr {v4} tcp dport 16925 drop; }}\n}}\n"
    );
    let mut command = cluster.node_place().command("nft")?;
    process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
    Ok(())
}

#[test]
fn a_pod_that_a_policy_cuts_off_has_an_event_that_says_so() -> Result<()> {
    Cluster::with(|cluster| {
        let blocked = cluster.pod("blocked").namespace("shop").role("blocked").start()?;
        let served = cluster.pod("served").namespace("shop").role("served").start()?;
        assert!(blocked.node_credentials()?.is_some());
        cut_off(cluster, &blocked)?;
        let mut agent = cluster.agent().start()?;
        served.wait_for_role("served")?;
        let exchange = blocked.hang_up_on(METADATA, b"")?;
        ensure!(exchange.failure.is_some(), "it was served: {exchange:?}");
        agent.wait_for_log("shop/blocked")?;
        let found = wait::until("an Event", PATIENCE, || {
            let events = cluster.kubernetes.events("shop")?;
            Ok(events.into_iter().find(|event| event["reason"] == "MetadataUnreachable"))
        })?;
        ensure!(found["regarding"]["uid"] == blocked.uid.as_str(), "{found}");
        let note = found["note"].as_str().context("a note")?;
        ensure!(note.contains("NetworkPolicy"), "{note}");
        ensure!(note.contains("podrole check --pod shop/blocked"), "{note}");
        ensure!(cluster.kubernetes.events("shop")?.len() == 1, "the other pod is well");
        let socket = cluster.socket().display().to_string();
        let explain = |pod| cluster.podrole(&["explain", pod, "--socket", &socket]);
        let said = explain("shop/blocked")?.text();
        ensure!(said.contains("did not arrive"), "{said}");
        ensure!(!explain("shop/served")?.text().contains("did not arrive"));
        Ok(())
    })
}
