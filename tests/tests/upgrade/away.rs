//! An agent that is killed or paused under load: pods are refused or wait, and none gets anything wrong.

use anyhow::{Result, ensure};
use podrole_tests::cluster::Cluster;
use tokio::time::Instant;

use crate::load::{Load, pods};

fn crashes(pod_count: usize, times: usize) -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, pod_count)?;
        let mut agent = cluster.agent().start()?;
        let mut load = Load::begin(cluster, pods)?;
        for turn in 0..times {
            let began = Instant::now();
            agent.kill()?;
            agent = cluster.agent().spawn()?;
            load.wait_until_served(began)?;
            load.ask_by_real_client(turn);
        }
        agent.wait_until_ready()?;
        let outcome = load.end()?;
        ensure!((outcome.wrong, outcome.leaked) == (0, 0), "{outcome}");
        Ok(())
    })
}

#[test]
fn crashes_give_nobody_anything_wrong() -> Result<()> {
    crashes(3, 3)
}

#[test]
#[ignore = "takes some minutes"]
fn fifty_crashes_give_nobody_anything_wrong() -> Result<()> {
    crashes(20, 50)
}

fn pauses(pod_count: usize, times: usize) -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, pod_count)?;
        let mut agent = cluster.agent().start()?;
        let mut load = Load::begin(cluster, pods)?;
        for turn in 0..times {
            agent.pause()?;
            // Longer than any client waits: all of them have given up and come again.
            let first = load.pods.first().map(|pod| pod.listed_role());
            ensure!(first.is_none_or(|answer| answer.is_err()), "it is paused");
            let began = Instant::now();
            agent.resume()?;
            load.wait_until_served(began)?;
            load.ask_by_real_client(turn);
        }
        agent.wait_until_ready()?;
        let outcome = load.end()?;
        ensure!((outcome.wrong, outcome.leaked, outcome.sts) == (0, 0, 0), "{outcome}");
        Ok(())
    })
}

#[test]
fn pauses_give_nobody_anything_wrong() -> Result<()> {
    pauses(3, 2)
}

#[test]
#[ignore = "takes some minutes"]
fn fifty_pauses_give_nobody_anything_wrong() -> Result<()> {
    pauses(20, 50)
}
