//! Who is who survives the agent, whatever becomes of the API server; but no pod that is gone does.

use std::fs;

use anyhow::{Context as _, Result};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{Request, TOKEN_HEADER};
use podrole_tests::pod::Pod;
use podrole_tests::wait;

const LISTING: &str = "/latest/meta-data/";

/// Waits until the file of the state directory tells of these pods and no others.
fn until_written(cluster: &Cluster, pods: &[&Pod<'_>]) -> Result<()> {
    let path = cluster.directory().join("state/pods.json");
    wait::until_true("the snapshot", || {
        let Ok(text) = fs::read(&path) else { return Ok(false) };
        let content: serde_json::Value = serde_json::from_slice(&text)?;
        let written = content["pods"].as_array().context("a list of pods")?;
        let has = |pod: &&Pod<'_>| written.iter().any(|saved| saved["uid"] == pod.uid.as_str());
        Ok(written.len() == pods.len() && pods.iter().all(has))
    })
}

/// 200 where it is known who asks, whatever else is not: with a token, so that it does not matter what
/// its Namespace says of requests without.
fn status(pod: &Pod<'_>) -> Result<u16> {
    let token = pod.token()?;
    Ok(pod.ask(&Request::get(LISTING).header(TOKEN_HEADER, &token))?.status)
}

fn until_known(pod: &Pod<'_>) -> Result<()> {
    wait::until_true(&format!("{} to be known", pod.name), || {
        Ok(status(pod).is_ok_and(|status| status == 200))
    })
}

#[test]
fn known_pods_are_known_after_a_restart_without_the_api_server() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let job = cluster.pod("job").role("job").start()?;
        let agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        until_written(cluster, &[&web, &job])?;

        cluster.kubernetes.fail()?;
        agent.kill()?;
        drop(job);
        let mut agent = cluster.agent().spawn()?;
        until_known(&web)?;
        agent.wait_for_log("known=2 there=1")?;

        cluster.kubernetes.recover()?;
        web.wait_for_role("web")
    })
}

#[test]
fn a_malformed_snapshot_is_told_of_and_not_used() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        let agent = cluster.agent().start()?;
        until_written(cluster, &[&web])?;
        agent.kill()?;
        let path = cluster.directory().join("state/pods.json");
        fs::write(&path, b"{\"version\":1,\"node\":\"node-1\",\"pods\":[{}]}")?;
        cluster.kubernetes.fail()?;
        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("the snapshot of this node's pods is not used")?;
        wait::until_true("an answer", || Ok(status(&web).is_ok()))?;
        assert_eq!(status(&web)?, 503);
        cluster.kubernetes.recover()?;
        web.wait_for_role("web")
    })
}
