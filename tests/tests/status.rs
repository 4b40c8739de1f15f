//! The commands that ask the agent over its socket.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent;
use podrole_tests::aws::role_arn;
use podrole_tests::cluster::Cluster;
use podrole_tests::process::Process;
use podrole_tests::terminal::Terminal;
use podrole_tests::wait;
use podrole_tests::{curl, openmetrics};
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
        wait::until_true("the session", || {
            Ok(pod(&status(cluster)?, "web")?["session"]["state"] == "held")
        })?;
        let found = status(cluster)?;
        ensure!(found["ready"] == true && found["node"] == "node-1", "{found}");
        let granted = pod(&found, "web")?;
        ensure!(granted["verdict"] == "granted", "{granted}");
        ensure!(granted["role"] == role_arn("web").as_str(), "{granted}");
        ensure!(granted["session"]["state"] == "held", "{granted}");
        ensure!(pod(&found, "plain")?["verdict"] == "none", "{found}");
        ensure!(pod(&found, "bad")?["verdict"] == "refused", "{found}");
        ensure!(found["counters"]["podrole_redirects_total"].as_f64() > Some(0.0), "{found}");
        let programs = found["programs"].as_array().context("no programs")?;
        ensure!(programs.len() == 10, "{found}");
        ensure!(programs.iter().all(|program| program["state"] == "attached"), "{found}");
        let text = cluster.ask(&["status"])?.ok()?;
        ensure!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        ensure!(text.contains("shop/web") && !text.contains('\x1b'), "{text}");
        Ok(())
    })
}

#[test]
fn programs_that_somebody_removes_are_missed() -> Result<()> {
    Cluster::with(|cluster| {
        let agent = cluster.agent().start()?;
        let attached = |wanted: i64| {
            wait::until_true(&format!("programs_attached {wanted}"), || {
                let url = "http://10.0.0.10:16926/metrics";
                let reply = curl::request(&cluster.node_place(), "GET", url, &[], "")?;
                let samples = openmetrics::read(&reply.ok()?)?;
                Ok(samples.get("podrole_programs_attached") == Some(&wanted))
            })
        };
        attached(1)?;
        cluster.detach()?;
        attached(0)?;
        let ready = cluster.ask(&["ready"])?;
        ensure!(ready.status.code() == Some(1), "{ready:?}");
        ensure!(
            ready.text() == "not ready: the eBPF programs, which are not where they belong\n",
            "{ready:?}"
        );
        ensure!(cluster.ask(&["status"])?.text().contains("NOT ATTACHED"));
        agent.kill()?;
        let _next = cluster.agent().start()?;
        attached(1)
    })
}

/// The control sequences of the screen that `--watch` takes and gives back.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

fn at_a_terminal(cluster: &Cluster, arguments: &[&str], no_color: bool) -> Result<Terminal> {
    let mut command = cluster.node_place().command(agent::binary()?)?;
    command.args(arguments).env("PODROLE_SOCKET", cluster.socket());
    if no_color {
        command.env("NO_COLOR", "1");
    }
    Terminal::spawn(&mut command, 30, 100)
}

#[test]
fn at_a_terminal_there_are_colours_unless_they_are_unwanted() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let coloured = at_a_terminal(cluster, &["ready"], false)?;
        coloured.wait_for("\x1b[32mready\x1b[0m", 1)?;
        let plain = at_a_terminal(cluster, &["ready"], true)?;
        plain.wait_for("ready\r\n", 1)?;
        ensure!(!plain.written().contains('\x1b'), "{:?}", plain.written());
        Ok(())
    })
}

#[test]
fn a_watched_status_is_refreshed_in_place_over_an_agents_restart() -> Result<()> {
    Cluster::with(|cluster| {
        let agent = cluster.agent().start()?;
        let screen = at_a_terminal(cluster, &["status", "--watch=1"], true)?;
        screen.wait_for("0 pods: ", 2)?;
        let written = screen.written();
        ensure!(written.starts_with(ENTER) && written.matches(ENTER).count() == 1, "{written:?}");
        ensure!(written.matches("\x1b[H").count() >= 2, "{written:?}");
        let _web = cluster.pod("web").role("web").start()?;
        screen.wait_for("default/web", 1)?;
        agent.kill()?;
        screen.wait_for("no agent answers", 1)?;
        let seen = screen.written().matches("default/web").count();
        let _next = cluster.agent().start()?;
        screen.wait_for("default/web", seen + 1)?;
        let (status, written) = screen.interrupt()?;
        ensure!(status.success() && written.ends_with(LEAVE), "{status}: {written:?}");
        Ok(())
    })
}

#[test]
fn a_status_that_is_watched_by_a_program_is_a_line_each() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let mut command = cluster.node_place().command(agent::binary()?)?;
        command.args(["status", "--watch=1", "--output", "json"]);
        command.env("PODROLE_SOCKET", cluster.socket());
        let log = cluster.directory().join("watch.log");
        let mut watching = Process::spawn("podrole status", &mut command, &log)?;
        watching.wait_for_lines("\"version\"", 2)?;
        for line in watching.output()?.lines().take(2) {
            let told: Value = serde_json::from_str(line)?;
            ensure!(told["ready"] == true, "{told}");
        }
        Ok(())
    })
}

#[test]
fn the_nodes_socket_is_that_of_the_agent_on_duty() -> Result<()> {
    Cluster::with(|cluster| {
        let first = cluster.agent().set("--host-network-pods", "mapped").start()?;
        ensure!(status(cluster)?["hostNetworkPods"] == "mapped");
        // Told apart by a setting: both may have started in the same second.
        let second = cluster.agent().set("--host-network-pods", "deny").set("--prefetch", "off");
        let mut second = second.spawn()?;
        second.wait_until_on_duty()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        let by_second = || Ok(status(cluster)?["hostNetworkPods"] == "deny");
        wait::until_true("the second agent's answer", by_second)?;
        first.kill()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        second.kill()?;
        ensure!(cluster.ask(&["ready"])?.status.code() == Some(1));
        let _next = cluster.agent().start()?;
        ensure!(cluster.ask(&["ready"])?.status.success());
        Ok(())
    })
}
