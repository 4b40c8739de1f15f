//! Whoever answers on the proxy's port hands out credentials. A `hostPort` or a Service's `externalIPs`
//! takes it by NAT of what pods send, without touching podrole: so podrole sends nobody there.

use anyhow::{Context as _, Result};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::{LIST, Request};
use podrole_tests::place::Place;
use podrole_tests::process;
use podrole_tests::wait::{self, PATIENCE};

const METADATA: &str = "169.254.169.254:80";
const PROXY: &str = "10.0.0.10:16925";
/// Where the thief listens.
const THIEF: &str = "10.0.0.10:9999";

fn nft(node: &Place, rules: &str) -> Result<()> {
    let mut command = node.command("nft")?;
    process::run(command.args(["-f", "-"]), rules.as_bytes(), PATIENCE)?.ok()?;
    Ok(())
}

/// What kube-proxy and the `portmap` plugin make of a `hostPort` or of `externalIPs`.
fn steal(node: &Place, port: &str) -> Result<()> {
    nft(
        node,
        &format!(
            "table ip thief {{
                chain prerouting {{
                    type nat hook prerouting priority dstnat; policy accept;
                    ip daddr 10.0.0.10 tcp dport {port} dnat to {THIEF}
                }}
            }}"
        ),
    )
}

fn is_answered_by_thief(pod: &Place, address: &str) -> Result<bool> {
    let answer = pod.tcp(address, &Request::get(LIST).bytes())?.answer();
    Ok(String::from_utf8_lossy(&answer).starts_with(THIEF))
}

fn readyz(node: &Place) -> Result<String> {
    let answer = node.ask_at("10.0.0.10:16926", &Request::get("/readyz"))?;
    Ok(format!("{} {}", answer.status, answer.body))
}

#[test]
fn a_port_that_is_taken_before_the_start_is_told_of_and_nobody_is_sent_there() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let pod = cluster.pod("web").role("web").start()?;
        let _thief = cluster.squat(THIEF)?;
        steal(&node, "16925")?;
        assert!(is_answered_by_thief(&pod, PROXY)?, "the thief answers pods");

        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("somebody else answers on the proxy's port")?;
        assert!(readyz(&node)?.contains("the way from a pod to the proxy"), "{}", readyz(&node)?);
        wait::until_true("the programs refuse", || pod.is_refused(METADATA))?;

        nft(&node, "delete table ip thief")?;
        agent.wait_until_ready()?;
        pod.wait_for_role("web")
    })
}

#[test]
fn what_an_agent_before_left_of_its_test_is_in_nobodys_way() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let _thief = cluster.squat(THIEF)?;
        steal(&node, "16925")?;
        let mut command = node.command("ip")?;
        command.args(["link", "add", "podrole-test0", "type", "veth"]);
        process::run(&mut command, b"", PATIENCE)?.ok()?;
        cluster.agent().spawn()?.wait_for_log("somebody else answers on the proxy's port")
    })
}

#[test]
fn a_port_that_is_taken_later_is_noticed_by_the_connections_that_are_lost() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let pod = cluster.pod("web").role("web").start()?;
        let mut agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        let _thief = cluster.squat(THIEF)?;
        steal(&node, "16925")?;
        assert!(is_answered_by_thief(&pod, METADATA)?, "until it is noticed");

        agent.wait_for_log("did not arrive")?;
        agent.wait_for_log("somebody else answers on the proxy's port")?;
        wait::until_true("the programs refuse", || pod.is_refused(METADATA))?;
        assert!(readyz(&node)?.starts_with("503"), "{}", readyz(&node)?);
        Ok(())
    })
}

#[test]
fn an_agent_that_comes_back_opens_the_way_that_was_closed() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let pod = cluster.pod("web").role("web").start()?;
        let _thief = cluster.squat(THIEF)?;
        steal(&node, "16925")?;
        assert!(is_answered_by_thief(&pod, PROXY)?, "the thief answers pods");
        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("somebody else answers on the proxy's port")?;
        wait::until_true("the programs refuse", || pod.is_refused(METADATA))?;
        agent.kill()?;
        nft(&node, "delete table ip thief")?;
        assert!(pod.is_refused(METADATA)?, "nobody has looked yet");

        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")
    })
}

#[test]
fn a_service_on_another_port_is_nobodys_business() -> Result<()> {
    Cluster::with(|cluster| {
        let node = cluster.node_place();
        let pod = cluster.pod("web").role("web").start()?;
        let _server = cluster.squat(THIEF)?;
        steal(&node, "8443")?;
        let agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        assert!(is_answered_by_thief(&pod, "10.0.0.10:8443")?);
        let log = agent.log()?;
        assert!(!log.contains("somebody else") && !log.contains("cannot be tested"), "{log}");
        readyz(&node)?.strip_prefix("200").context("ready")?;
        Ok(())
    })
}
