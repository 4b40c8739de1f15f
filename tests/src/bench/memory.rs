//! What the agent itself uses: memory, processor time while nothing happens, time to readiness,
//! allocations for an answer.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::json;
use tokio::time::Instant;

use super::Tools;
use super::figure::{Figure, Measured, Size, Target, Unit};
use super::proxy::Scene;
use super::scale;
use super::stage::{agent_there, on_cluster};
use super::usage::{processor_seconds, resident_kib};
use crate::agent::Agent;
use crate::aws::role_arn;
use crate::cluster::{Cluster, NODE};
use crate::openmetrics;
use crate::pod::ROLE_ANNOTATION;
use crate::{curl, wait};

/// How many pods a node may have that is no ordinary one.
const MANY: usize = 1000;
const METRICS: &str = "http://10.0.0.10:16926/metrics";

pub(super) fn measure(size: Size, tools: &Tools) -> Result<Measured> {
    agent_there()?;
    let mut figures = on_cluster(|cluster| readiness(cluster, size.of(1, 3, 7)))?;
    let long = Duration::from_secs(size.of(1, 5, 12));
    figures.extend(on_cluster(|cluster| pods(cluster, size.of(20, 110, MANY), long))?);
    figures.extend(on_cluster(|cluster| soak(cluster, size))?);
    if let Some(simulations) = &tools.simulations {
        figures.extend(scale::simulate(simulations, "allocations", &[])?.figures);
    }
    Ok(Measured { figures, lines: Vec::new() })
}

/// From the start of the process to `/readyz`, with the programs still to be attached and with those of an
/// agent before.
fn readiness(cluster: &Cluster, rounds: usize) -> Result<Vec<Figure>> {
    let _pod = cluster.pod("web").role("web").start()?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for took in [&mut first, &mut again] {
            let start = Instant::now();
            let agent = cluster.agent().start()?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            agent.kill()?;
        }
        cluster.detach()?;
    }
    let figure =
        |name: &str, what: &str, took: &[f64]| Figure::new(name, what, Unit::Milliseconds, took);
    Ok(vec![
        figure("ready-first", "start to ready, programs to be attached and tried", &first),
        figure("ready-again", "start to ready, after a crash", &again),
    ])
}

/// With none, with those of a full node, and with many: known, mapped, their sessions fetched.
fn pods(cluster: &Cluster, most: usize, long: Duration) -> Result<Vec<Figure>> {
    let agent = cluster.agent().start()?;
    let mut figures = Vec::new();
    figures.push(resident(&agent, "idle", "resident memory, no pods")?);
    let full = most.min(110);
    announce(cluster, 0..full)?;
    wait_for_sessions(cluster, full)?;
    figures.push(resident(&agent, "full-node", "resident memory, 110 pods and their sessions")?);
    figures.push(idle(&agent, long)?);
    if most > full {
        announce(cluster, full..most)?;
        wait_for_sessions(cluster, most)?;
        figures.push(resident(&agent, "many", "resident memory, 1,000 pods and their sessions")?);
    }
    Ok(figures)
}

fn resident(agent: &Agent, name: &str, what: &str) -> Result<Figure> {
    let kib = resident_kib(agent.id())?;
    Ok(Figure::new(&format!("resident-{name}"), what, Unit::Kibibytes, &[kib]))
}

/// Of some seconds in which nobody asks for anything.
fn idle(agent: &Agent, long: Duration) -> Result<Figure> {
    let (start, before) = (Instant::now(), processor_seconds(agent.id())?);
    wait::until_true("some idle seconds", || Ok(start.elapsed() >= long))?;
    let used = processor_seconds(agent.id())? - before;
    let part = used / start.elapsed().as_secs_f64() * 100.0;
    let what = "of one processor while nobody asks, 110 pods";
    Ok(Figure::new("idle-cpu", what, Unit::Percent, &[part]))
}

/// Pods for whom nothing runs: the agent knows them all the same.
fn announce(cluster: &Cluster, numbers: std::ops::Range<usize>) -> Result<()> {
    const AT_ONCE: usize = 4;
    let numbers: Vec<usize> = numbers.collect();
    thread::scope(|scope| {
        let lots = numbers.chunks(numbers.len().div_ceil(AT_ONCE).max(1));
        let threads: Vec<_> = lots
            .map(|lot| {
                scope.spawn(move || lot.iter().try_for_each(|number| create(cluster, *number)))
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread that creates pods panicked"))??;
        }
        Ok(())
    })
}

fn create(cluster: &Cluster, number: usize) -> Result<()> {
    let name = format!("checkout-worker-7d9f8b6c5d-{number:05}");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": { ROLE_ANNOTATION: role_arn(&format!("role-{}", number % 40)) }
        },
        "spec": {
            "nodeName": NODE,
            "serviceAccountName": "checkout-worker",
            "containers": [{ "name": "main", "image": "example.org/app:1" }]
        }
    });
    cluster.kubernetes.create_pod("default", &pod)?;
    Ok(())
}

fn wait_for_sessions(cluster: &Cluster, wanted: usize) -> Result<()> {
    // They are fetched at the node's rate, 20 a second after the first hundred.
    let within = Duration::from_secs(30) + Duration::from_millis(60) * u32::try_from(wanted)?;
    wait::until("the sessions of all pods", within, || {
        let reply = curl::request(&cluster.node_place(), "GET", METRICS, &[], "")?;
        let samples = openmetrics::read(&reply.ok()?)?;
        let held = samples.get("podrole_sessions").copied().unwrap_or_default();
        Ok((usize::try_from(held)? >= wanted).then_some(()))
    })
}

/// After millions of requests of a full node.
fn soak(cluster: &Cluster, size: Size) -> Result<Vec<Figure>> {
    let scene = Scene::new(cluster, size.of(2, 110, 110))?;
    scene.load(1)?;
    let before = resident_kib(scene.agent.id())?;
    let requests = scene.load(size.of(1, 5, 40))?;
    let after = resident_kib(scene.agent.id())?;
    let what = format!("resident memory after a soak of {requests} requests of 110 pods");
    Ok(vec![
        Figure::new("resident-soaked", &what, Unit::Kibibytes, &[after]),
        Figure::new(
            "soak-growth",
            "resident memory after the soak, to before",
            Unit::Ratio,
            &[after / before],
        )
        .target(Target::AtMost(1.1)),
    ])
}
