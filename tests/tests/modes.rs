//! `enforce`, `audit` and `off`: by flag, by the Node's label, by namespace; beside what kube2iam leaves in
//! iptables; and the way from one to another under load.

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::cluster::{Cluster, NODE};
use podrole_tests::hammer::Hammer;
use podrole_tests::http::LIST;
use podrole_tests::leaks::Leaks;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::kube2iam::access_key;
use podrole_tests::pretend::node;
use podrole_tests::process;
use podrole_tests::vectors::attack::{Attack, Report};
use podrole_tests::vectors::packet;
use podrole_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};

const LABEL: &str = "podrole.dev/mode";
const OTHER_PORT: &str = "169.254.169.254:8080";
const DATAGRAMS: &str = "169.254.169.254:80";
const CHANGES: usize = 3;
const MANY_CHANGES: usize = 100;

/// All ways that a pod has without podrole: the node's role, another port, a datagram.
fn reaches_all(pod: &Pod<'_>) -> Result<bool> {
    Ok(is_node(pod)
        && pod.reaches_bystander(OTHER_PORT.parse()?, false)?
        && pod.reaches_bystander(DATAGRAMS.parse()?, true)?)
}

fn is_node(pod: &Pod<'_>) -> bool {
    pod.node_credentials().is_ok_and(|found| found.is_some())
}

fn until_node(pod: &Pod<'_>) -> Result<()> {
    wait::until_true(&format!("{} to reach the node's role", pod.name), || Ok(is_node(pod)))
}

/// Waits until the pod has this role of its own, whatever it had before.
fn until_role(pod: &Pod<'_>, role: &str) -> Result<()> {
    wait::until_true(&format!("{} to have {role}", pod.name), || {
        Ok(pod.get(LIST).is_ok_and(|answer| answer.status == 200 && answer.body == role))
    })
}

fn status(cluster: &Cluster) -> Result<Value> {
    Ok(serde_json::from_str(&cluster.ask(&["status", "--output", "json"])?.text())?)
}

/// Waits until the node is in this mode and nothing is on its way there.
fn until_mode(cluster: &Cluster, mode: &str) -> Result<()> {
    wait::until_true(&format!("mode {mode}"), || {
        let status = status(cluster)?;
        Ok(status["mode"] == mode && status["changing"] == false && status["ready"] == true)
    })
}

/// A pod that had its role, on a node whose label says audit by now.
fn audited_by_label(cluster: &Cluster) -> Result<(Pod<'_>, Agent)> {
    let web = cluster.pod("web").role("web").start()?;
    let agent = cluster.agent().start()?;
    web.wait_for_role("web")?;
    label(cluster, Some("audit"))?;
    until_node(&web)?;
    Ok((web, agent))
}

fn label(cluster: &Cluster, mode: Option<&str>) -> Result<()> {
    cluster.kubernetes.label_node(NODE, LABEL, mode)
}

fn label_namespace(cluster: &Cluster, name: &str, mode: Option<&str>) -> Result<()> {
    let patch = json!({ "metadata": { "labels": { LABEL: mode } } });
    cluster.kubernetes.patch_namespace(name, &patch)
}

fn counted(cluster: &Cluster, series: &str) -> Result<f64> {
    Ok(status(cluster)?["counters"][series].as_f64().unwrap_or_default())
}

#[test]
fn in_audit_everything_goes_on_and_is_counted() -> Result<()> {
    Cluster::with(|cluster| {
        let web = cluster.pod("web").role("web").start()?;
        ensure!(reaches_all(&web)?, "without podrole");
        let _agent = cluster.agent().set("--mode", "audit").start()?;
        ensure!(reaches_all(&web)?, "in audit");
        let late = cluster.pod("late").role("late").start()?;
        ensure!(reaches_all(&late)?, "a pod that comes later");
        for would in ["redirect", "connect", "datagram", "packet", "forward"] {
            let series = format!("podrole_audited_total{{would=\"{would}\"}}");
            ensure!(counted(cluster, &series)? > 0.0, "{would}");
        }
        ensure!(counted(cluster, "podrole_sessions")? == 0.0, "nobody asks for credentials here");
        Ok(())
    })
}

#[test]
fn the_nodes_label_overrides_the_flag_and_off_removes_the_programs() -> Result<()> {
    Cluster::with(|cluster| {
        let (web, mut agent) = audited_by_label(cluster)?;
        label(cluster, Some("off"))?;
        until_mode(cluster, "off")?;
        wait::until_true("the links to go", || {
            Ok(!cluster.bpf_fs.pins()?.iter().any(|pin| pin.ends_with("connect4")))
        })?;
        ensure!(reaches_all(&web)?, "off");
        wait::until_true("status to say that each program is off", || {
            let found = status(cluster)?;
            let programs = found["programs"].as_array().context("no programs")?;
            let is_off = programs.len() == 10 && programs.iter().all(|p| p["state"] == "off");
            Ok(is_off && found["ready"] == true)
        })?;
        agent.wait_for_log("mode off")?;

        // One that starts while it is off attaches nothing either.
        agent.terminate()?;
        agent.wait(PATIENCE)?;
        let mut agent = cluster.agent().start()?;
        ensure!(reaches_all(&web)?, "off, after a restart");

        label(cluster, Some("enforce"))?;
        until_mode(cluster, "enforce")?;
        until_role(&web, "web")?;
        let leaks = cluster.leaks()?;
        ensure!(!web.reaches_bystander(OTHER_PORT.parse()?, false)?);
        ensure!(leaks.seen(&web)?.is_empty());
        label(cluster, None)?;
        agent.wait_until_ready()?;
        until_role(&web, "web")
    })
}

#[test]
fn a_mode_that_does_not_exist_is_enforced_and_told_of() -> Result<()> {
    Cluster::with(|cluster| {
        let refused = cluster.agent().set("--mode", "permissive").run()?;
        ensure!(
            refused.status.code() == Some(2) && refused.stderr.contains("`audit`"),
            "{refused:?}"
        );

        let web = cluster.pod("web").role("web").start()?;
        let mut agent = cluster.agent().set("--mode", "audit").start()?;
        ensure!(is_node(&web));
        label(cluster, Some("permissive"))?;
        until_role(&web, "web")?;
        agent.wait_for_log("none of enforce, audit and off")?;
        label(cluster, None)?;
        until_node(&web)?;

        // A Namespace cannot loosen.
        label(cluster, Some("enforce"))?;
        until_role(&web, "web")?;
        label_namespace(cluster, "default", Some("audit"))?;
        agent.wait_for_log("would loosen what holds")?;
        until_mode(cluster, "enforce")?;
        ensure!(web.listed_role()?.as_deref() == Some("web"));
        Ok(())
    })
}

#[test]
fn without_the_api_server_what_was_told_last_holds_and_an_agent_says_so() -> Result<()> {
    Cluster::with(|cluster| {
        let (web, mut agent) = audited_by_label(cluster)?;
        cluster.kubernetes.fail()?;
        agent.terminate()?;
        agent.wait(PATIENCE)?;
        ensure!(is_node(&web), "no agent, in audit");
        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("the label that it had last")?;
        agent.wait_for_log("attached to the pods' cgroup")?;
        ensure!(is_node(&web), "in audit still");
        // In the middle of a change: it is heard of when the API server is back.
        cluster.kubernetes.recover()?;
        label(cluster, None)?;
        until_role(&web, "web")
    })
}

#[test]
fn one_namespace_is_enforced_beside_others_in_audit() -> Result<()> {
    Cluster::with(|cluster| {
        let kept = cluster.pod("kept").namespace("kept").role("kept").start()?;
        let strict = cluster.pod("strict").namespace("strict").role("strict").start()?;
        ensure!(reaches_all(&kept)? && reaches_all(&strict)?, "without podrole");
        let own = strict.address().context("no address")?.v4();
        let (from, to) = (own.into(), "169.254.169.254".parse()?);
        let frame = packet::ip(from, to, packet::TCP, &packet::syn(from, to, 80));
        let syn = Attack::packets("eth0", vec![frame]);
        let leaks = cluster.leaks()?;
        attack(&strict, &syn)?;
        ensure!(!leaks.seen(&strict)?.is_empty(), "without podrole a frame arrives");

        let _agent = cluster.agent().set("--mode", "audit").start()?;
        label_namespace(cluster, "strict", Some("enforce"))?;
        until_role(&strict, "strict")?;
        until_mode(cluster, "audit")?;
        ensure!(is_node(&kept), "the other namespace");
        leaks.seen(&strict)?;
        ensure!(!strict.reaches_bystander(OTHER_PORT.parse()?, false)?);
        ensure!(!strict.reaches_bystander(DATAGRAMS.parse()?, true)?);
        attack(&strict, &syn)?;
        ensure!(leaks.seen(&strict)?.is_empty(), "nothing of an enforced pod arrives");

        // A pod that comes later is enforced too.
        let late = cluster.pod("late").namespace("strict").role("late").start()?;
        until_role(&late, "late")?;
        label_namespace(cluster, "strict", None)?;
        until_node(&strict)?;
        until_node(&late)
    })
}

#[test]
fn namespaces_of_the_flag_stay_in_audit_while_others_are_enforced() -> Result<()> {
    Cluster::with(|cluster| {
        let kept = cluster.pod("kept").namespace("kept").role("kept").start()?;
        let web = cluster.pod("web").role("web").start()?;
        let _agent = cluster.agent().set("--audit-namespaces", "kept").start()?;
        web.wait_for_role("web")?;
        until_node(&kept)?;
        ensure!(kept.reaches_bystander(OTHER_PORT.parse()?, false)?);
        // Its tenants may be stricter by themselves.
        label_namespace(cluster, "kept", Some("enforce"))?;
        until_role(&kept, "kept")
    })
}

#[test]
fn host_network_pods_are_the_node_in_audit() -> Result<()> {
    Cluster::with(|cluster| {
        let held = cluster.pod("held").host_network().role("held").start()?;
        let agent = cluster.agent().set("--host-network-pods", "deny");
        let _agent = agent.set("--mode", "audit").start()?;
        ensure!(is_node(&held), "in audit");
        label(cluster, Some("enforce"))?;
        until_role(&held, "held")?;
        label(cluster, None)?;
        until_node(&held)
    })
}

#[test]
fn beside_kube2iam_its_redirect_serves_whom_podrole_does_not() -> Result<()> {
    Cluster::with(|cluster| {
        let kept = cluster.pod("kept").namespace("kept").role("kept").start()?;
        let moved = cluster.pod("moved").namespace("moved").role("moved").start()?;
        let _kube2iam = cluster.kube2iam(&[(&kept, "kept"), (&moved, "moved")])?;
        ensure!(by_kube2iam(&kept)? && by_kube2iam(&moved)?, "without podrole");

        // Ready: no alarm for the redirect of another.
        let agent = cluster.agent().set("--mode", "audit").start()?;
        ensure!(by_kube2iam(&kept)? && by_kube2iam(&moved)?, "in audit");
        label_namespace(cluster, "moved", Some("enforce"))?;
        until_role(&moved, "moved")?;
        ensure!(by_kube2iam(&kept)?, "the others are still kube2iam's");
        label(cluster, Some("enforce"))?;
        until_role(&kept, "kept")?;
        label(cluster, Some("audit"))?;
        wait::until_true("kube2iam to serve again", || by_kube2iam(&kept))?;
        ensure!(moved.listed_role()?.as_deref() == Some("moved"));
        ensure!(!agent.log()?.contains("somebody else answers"), "{}", agent.log()?);
        Ok(())
    })
}

fn by_kube2iam(pod: &Pod<'_>) -> Result<bool> {
    let credentials = pod.get(&format!("{LIST}{}", pod.name))?;
    Ok(credentials.body.contains(&access_key(&pod.name)))
}

/// Carries an attack out; whether it came to anything is seen elsewhere.
fn attack(place: &Place, attack: &Attack) -> Result<Report> {
    let mut command = place.command(process::own_binary("podrole-vectors")?)?;
    command.arg("attack").arg(serde_json::to_string(attack)?);
    Ok(serde_json::from_str(&process::run(&mut command, b"", PATIENCE)?.ok()?)?)
}

#[test]
fn the_kill_switch_frees_and_enforces_under_load() -> Result<()> {
    Cluster::with(|cluster| changes(cluster, CHANGES))
}

#[test]
#[ignore = "minutes: the same a hundred times"]
fn the_kill_switch_frees_and_enforces_under_load_a_hundred_times() -> Result<()> {
    Cluster::with(|cluster| changes(cluster, MANY_CHANGES))
}

/// From audit to enforce and back, while pods ask all the time.
fn changes(cluster: &Cluster, times: usize) -> Result<()> {
    let pods = ["web", "api"].map(|name| cluster.pod(name).role(name).start());
    let pods = pods.into_iter().collect::<Result<Vec<_>>>()?;
    let mut agent: Agent = cluster.agent().set("--mode", "audit").start()?;
    let hammers = pods.iter().map(|pod| cluster.hammer(pod, 4));
    let hammers = hammers.collect::<Result<Vec<Hammer>>>()?;
    let leaks: Leaks = cluster.leaks()?;
    for number in 0..times {
        // Every other time by way of `off`.
        if number % 2 == 1 {
            label(cluster, Some("off"))?;
            until_mode(cluster, "off")?;
        }
        label(cluster, Some("enforce"))?;
        until_mode(cluster, "enforce")?;
        leaks.seen(&pods[0])?;
        for pod in [&pods, &pods, &pods].into_iter().flatten() {
            let answer = pod.get(LIST)?;
            ensure!((answer.status, answer.body.as_str()) == (200, &*pod.name), "{answer:?}");
        }
        let seen = leaks.seen(&pods[0])?;
        ensure!(seen.is_empty(), "while in enforce, in change {number}: {seen:?}");
        label(cluster, Some("audit"))?;
        until_mode(cluster, "audit")?;
        for pod in &pods {
            until_node(pod)?;
        }
    }
    for (pod, hammer) in pods.iter().zip(hammers) {
        let tally = hammer.finish()?;
        println!("{}: {tally:?}", pod.name);
        ensure!(tally.served(&pod.name) > 0 && tally.served(node::ROLE) > 0, "{tally:?}");
        ensure!(tally.others(&[&pod.name, node::ROLE]) == 0, "requests failed: {tally:?}");
    }
    agent.wait_until_ready()
}
