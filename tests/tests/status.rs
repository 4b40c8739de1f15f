//! The commands that ask the agent over its socket.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::wait;
use serde_json::Value;

fn status(cluster: &Cluster) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.ask(&["status", "--output", "json"])?.ok()?)?)
}

fn pod<'s>(status: &'s Value, name: &str) -> Result<&'s Value> {
    let pods = status["pods"].as_array().context("no pods")?;
    pods.iter().find(|pod| pod["name"] == name).with_context(|| format!("{name} in {status}"))
}

#[test]
fn ready_says_what_the_probe_says() -> Result<()> {
    Cluster::with(|cluster| {
        let without = cluster.ask(&["ready"])?;
        ensure!(without.status.code() == Some(1) && without.stderr.contains("no agent answers"));
        // The list of pods does not come.
        cluster.kubernetes.fail()?;
        let mut agent = cluster.agent().spawn()?;
        wait::until_true("the socket", || Ok(cluster.socket().exists()))?;
        let early = cluster.ask(&["ready"])?;
        ensure!(early.status.code() == Some(1), "{early:?}");
        ensure!(early.text().contains("not ready: ") && early.text().contains("pods"), "{early:?}");
        cluster.kubernetes.recover()?;
        agent.wait_until_ready()?;
        let ready = cluster.ask(&["ready"])?;
        ensure!(ready.status.success() && ready.text() == "ready\n", "{ready:?}");
        Ok(())
    })
}

#[test]
fn status_shows_the_pods_and_their_roles() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").namespace("shop").role("web").start()?;
        let _plain = cluster.pod("plain").start()?;
        let _bad = cluster.pod("bad").annotation("iam.amazonaws.com/role", "not a role").start()?;
        let _agent = cluster.agent().start()?;
        web.wait_for_role("web")?;
        let found = status(cluster)?;
        ensure!(found["ready"] == true && found["node"] == "node-1", "{found}");
        let granted = pod(&found, "web")?;
        ensure!(granted["verdict"] == "granted", "{granted}");
        ensure!(granted["role"] == role_arn("web").as_str(), "{granted}");
        ensure!(granted["session"]["state"] == "held", "{granted}");
        ensure!(pod(&found, "plain")?["verdict"] == "none", "{found}");
        ensure!(pod(&found, "bad")?["verdict"] == "refused", "{found}");
        ensure!(found["counters"]["podrole_redirects_total"].as_f64() > Some(0.0), "{found}");
        let text = cluster.ask(&["status"])?.ok()?;
        ensure!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        ensure!(text.contains("shop/web") && !text.contains('\x1b'), "{text}");
        Ok(())
    })
}

#[test]
fn the_nodes_socket_is_that_of_the_agent_on_duty() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.agent().start()?;
        let started = status(cluster)?["started"].clone();
        let mut second = cluster.agent().set("--prefetch", "off").spawn()?;
        second.wait_until_on_duty()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        wait::until_true("another start", || Ok(status(cluster)?["started"] != started))?;
        first.kill()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        second.kill()?;
        ensure!(cluster.ask(&["ready"])?.status.code() == Some(1));
        let _next = cluster.agent().start()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        Ok(())
    })
}
