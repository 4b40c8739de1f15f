//! Upgrades under load: no request fails, STS is asked nothing, and tokens go on to count.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::bpf;
use podrole_tests::bpffs::PINS;
use podrole_tests::cluster::Cluster;
use tokio::time::Instant;

use crate::load::{Load, pods};

/// How long an agent may take to finish what it has begun.
const GRACE: Duration = Duration::from_secs(15);

/// A new agent takes over, and kubelet stops the old one then, as with `maxSurge`.
fn upgrade(cluster: &Cluster, old: Agent) -> Result<Agent> {
    let mut new = cluster.agent().spawn()?;
    new.wait_until_on_duty()?;
    end(old)?;
    Ok(new)
}

fn end(mut agent: Agent) -> Result<()> {
    agent.terminate()?;
    let status = agent.wait(GRACE)?;
    ensure!(status.success(), "{status}: {}", agent.log()?);
    Ok(())
}

fn upgrades(pod_count: usize, times: usize) -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, pod_count)?;
        let _refused = cluster.pod("refused").role("denied").start()?;
        let mut agent = cluster.agent().start()?;
        let mut load = Load::begin(cluster, pods)?;
        for turn in 0..times {
            let began = Instant::now();
            agent = upgrade(cluster, agent)?;
            load.wait_until_served(began)?;
            load.ask_by_real_client(turn);
        }
        agent.wait_until_ready()?;
        let outcome = load.end()?;
        ensure!((outcome.failed, outcome.wrong, outcome.leaked) == (0, 0, 0), "{outcome}");
        ensure!(outcome.sts == 0, "STS was asked: {outcome}");
        ensure!(outcome.asked > u64::try_from(pod_count * times)?, "{outcome}");
        Ok(())
    })
}

#[test]
fn upgrades_fail_nothing_and_ask_sts_nothing() -> Result<()> {
    upgrades(4, 4)
}

#[test]
#[ignore = "takes half an hour"]
fn two_hundred_upgrades_fail_nothing_and_ask_sts_nothing() -> Result<()> {
    upgrades(20, 200)
}

/// The number of each link that is pinned, by its name.
fn links(cluster: &Cluster) -> Result<Vec<(String, u64)>> {
    let name = |pin: &PathBuf| Some(pin.file_name()?.to_str()?.to_owned());
    let pins = cluster.bpf_fs.pins()?.into_iter();
    let mut links: Vec<_> =
        pins.filter_map(|pin| Some((name(&pin)?, bpf::link_id(&pin).ok()?))).collect();
    links.sort();
    links.dedup();
    Ok(links)
}

#[test]
fn programs_of_another_version_give_way_without_a_gap() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, 3)?;
        let mut agent = cluster.agent().start()?;
        let directory = cluster.bpf_fs.path().join("podrole");
        let (own, other) = (cluster.bpf_fs.path().join(PINS), directory.join("v0"));
        let before = links(cluster)?;
        let load = Load::begin(cluster, pods)?;
        for _ in 0..3 {
            // From here on its pins are another version's, its maps too.
            fs::rename(&own, &other).context("rename the pins")?;
            let mut new = cluster.agent().spawn()?;
            new.wait_until_on_duty()?;
            ensure!(other.join("connect4").exists(), "the old agent may need its own");
            ensure!(links(cluster)? == before, "links are taken up, not made");
            end(agent)?;
            new.wait_for_log("another version's pins are removed")?;
            ensure!(!other.exists() && links(cluster)? == before, "each link once");
            agent = new;
        }
        let outcome = load.end()?;
        ensure!((outcome.failed, outcome.wrong, outcome.leaked) == (0, 0, 0), "{outcome}");
        Ok(())
    })
}

#[test]
fn pins_of_another_version_without_its_agent_are_taken_up() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, 1)?;
        cluster.agent().start()?.kill()?;
        let before = links(cluster)?;
        let directory = cluster.bpf_fs.path().join("podrole");
        fs::rename(cluster.bpf_fs.path().join(PINS), directory.join("v0"))?;
        let _agent = cluster.agent().start()?;
        for pod in &pods {
            pod.wait_for_role(&pod.name)?;
        }
        ensure!(links(cluster)? == before && !directory.join("v0").exists());
        Ok(())
    })
}
