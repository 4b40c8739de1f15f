//! The Node says whether podrole serves its pods, and is freed of its startup taint when it does.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::pretend::kubernetes::behaviour::{Behaviour, Way};
use podrole_tests::wait;
use serde_json::{Value, json};

const TAINT: &str = "podrole.dev/not-ready";
const CONDITION: &str = "podrole.dev/Ready";

fn tainted(cluster: &Cluster, taints: &[&str]) -> Result<()> {
    let taint = |key: &&str| json!({ "key": key, "effect": "NoSchedule" });
    let taints: Vec<_> = taints.iter().map(taint).collect();
    cluster.kubernetes.create_node(NODE, &[])?;
    cluster.kubernetes.patch_node(NODE, &json!({ "spec": { "taints": taints } }))
}

fn taints(cluster: &Cluster) -> Result<Vec<String>> {
    let node = cluster.kubernetes.node(NODE)?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    taints.iter().map(|it| Ok(it["key"].as_str().context("a key")?.to_owned())).collect()
}

fn condition(cluster: &Cluster) -> Result<Option<Value>> {
    let node = cluster.kubernetes.node(NODE)?;
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions.into_iter().find(|it| it["type"] == CONDITION))
}

fn wait_for(cluster: &Cluster, status: &str) -> Result<Value> {
    wait::until(&format!("the condition {status}"), wait::PATIENCE, || {
        Ok(condition(cluster)?.filter(|it| it["status"] == status))
    })
}

#[test]
fn the_taint_goes_when_the_agent_is_ready_and_others_stay() -> Result<()> {
    Cluster::with(|cluster| {
        tainted(cluster, &[TAINT, "example.org/other"])?;
        let mut agent = cluster.agent().set("--startup-taint", TAINT).start()?;
        agent.wait_for_log("its startup taint is removed")?;
        ensure!(taints(cluster)? == ["example.org/other"], "{:?}", taints(cluster)?);
        let condition = wait_for(cluster, "True")?;
        ensure!(condition["reason"] == "PodroleReady", "{condition}");
        ensure!(condition["lastTransitionTime"].is_string(), "{condition}");
        Ok(())
    })
}

#[test]
fn a_node_whose_pods_are_not_served_stays_tainted_and_says_why() -> Result<()> {
    Cluster::with(|cluster| {
        tainted(cluster, &[TAINT])?;
        // The pods cannot be listed, and so the agent is not ready.
        if !cluster.kubernetes.is_pretend() {
            return Ok(());
        }
        let resource = Some("pods".to_owned());
        let away = Behaviour { answer: Way::Unavailable, resource, ..Behaviour::default() };
        cluster.kubernetes.behave(&away)?;
        let mut agent = cluster.agent().set("--startup-taint", TAINT).spawn()?;
        let condition = wait_for(cluster, "False")?;
        let message = condition["message"].as_str().context("a message")?;
        ensure!(message.contains("the list of this node's pods"), "{message}");
        ensure!(taints(cluster)? == [TAINT]);

        cluster.kubernetes.behave(&Behaviour::default())?;
        agent.wait_until_ready()?;
        wait_for(cluster, "True")?;
        ensure!(taints(cluster)?.is_empty());
        Ok(())
    })
}

#[test]
fn without_the_right_to_it_nothing_else_is_missing() -> Result<()> {
    Cluster::with(|cluster| {
        tainted(cluster, &[TAINT])?;
        if !cluster.kubernetes.is_pretend() {
            return Ok(());
        }
        let web = cluster.pod("web").role("web").start()?;
        let resource = Some("nodes".to_owned());
        let forbidden = Behaviour { answer: Way::Forbidden, resource, ..Behaviour::default() };
        cluster.kubernetes.behave(&forbidden)?;
        let mut agent = cluster.agent().set("--startup-taint", TAINT).start()?;
        agent.wait_for_log("the ClusterRole podrole-node")?;
        web.credentials_of("web")?;
        cluster.kubernetes.behave(&Behaviour::default())?;
        wait_for(cluster, "True")?;
        ensure!(taints(cluster)?.is_empty());
        Ok(())
    })
}

#[test]
fn without_the_flag_the_node_is_left_alone() -> Result<()> {
    Cluster::with(|cluster| {
        tainted(cluster, &[TAINT])?;
        let web = cluster.pod("web").role("web").start()?;
        let _agent = cluster.agent().set("--startup-taint", "").start()?;
        web.credentials_of("web")?;
        let seen = cluster.kubernetes.seen()?;
        // Its mode it reads there in any case.
        let is_left = |target: &str, method: &str| method == "GET" || !target.contains("/nodes");
        ensure!(seen.iter().all(|seen| is_left(&seen.target, &seen.method)), "{seen:?}");
        ensure!(taints(cluster)? == [TAINT]);
        Ok(())
    })
}
