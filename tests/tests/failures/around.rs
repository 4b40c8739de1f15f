//! What fails around the node: AWS, the API server, time.

use std::time::Duration;

use anyhow::{Result, ensure};
use podrole_tests::aws::Sts;
use podrole_tests::clock::Clock;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::kubernetes::{Behaviour, Way};
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts::behaviour;
use podrole_tests::wait;

use crate::pods;
use crate::table::{Fails, Row, Size, ended};

/// How long STS is away, in minutes of the clock that the agent and STS go by.
const AWAY: i64 = 50;
/// The clock is moved by so many minutes at once.
const STEP: i64 = 2;
/// The last minute in which the first sessions may be served.
const LAST: i64 = 58;
/// For what takes some looks of every pod.
const PATIENCE: Duration = Duration::from_mins(2);

/// Which session each pod has.
fn serials(pods: &[Pod<'_>]) -> Result<Vec<u64>> {
    pods.iter().map(|pod| Ok(pod.credentials_of(&pod.name)?.session()?.serial)).collect()
}

/// From a minute after the sessions were given, so that each would be refreshed in the middle of it.
pub(crate) fn sts_away(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let clock = Clock::new(cluster.directory())?;
    let sts = Sts::start_by(&clock, &cluster.outside_place(), cluster.directory())?;
    let pods = pods(cluster, "web", size)?;
    let _agent = cluster.agent().by(&clock).env("AWS_ENDPOINT_URL_STS", sts.url()).start()?;
    let mut load = cluster.load(&pods)?;
    let before = serials(&pods)?;
    sts.behave_to_all(behaviour::Way::InternalFailure)?;
    let given = sts.requests()?.len();
    for minutes in (1..AWAY).step_by(usize::try_from(STEP)?) {
        load.between(|| clock.pass(minutes * 60))?;
        load.until_more(1)?;
    }
    load.until_more(size.tries)?;
    let refused = sts.requests()?.len() - given;
    ensure!(refused >= pods.len(), "STS was asked {refused} times while it was away");
    sts.behave_to_all(behaviour::Way::Normal)?;
    let (end, mut minutes) = (ended()?, AWAY);
    wait::until("new sessions of all", PATIENCE, || {
        // By now retries are minutes apart. What is held is served to its last minute.
        minutes = LAST.min(minutes + 1);
        load.between(|| clock.pass(minutes * 60))?;
        load.until_more(1)?;
        let now = serials(&pods)?;
        Ok(now.iter().zip(&before).all(|(now, before)| now != before).then_some(()))
    })?;
    load.until_more(size.tries)?;
    Ok(vec![Row::new("STS away for 50 minutes (simulated)", Fails::Never, load, end)?])
}

pub(crate) fn api_server(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    if !cluster.kubernetes.is_pretend() {
        return Ok(Vec::new());
    }
    let pods = pods(cluster, "web", size)?;
    let _agent = cluster.agent().start()?;
    let mut rows = Vec::new();
    for (what, answer, delay_ms) in [
        ("API server away (connections reset)", Way::Reset, 0),
        ("API server silent", Way::Silent, 0),
        ("API server slow (5 s)", Way::Normal, 5_000),
        ("API server sends rubbish", Way::Rubbish, 0),
        ("API server refuses (403)", Way::Forbidden, 0),
        ("API server fails (503)", Way::Unavailable, 0),
    ] {
        let mut load = cluster.load(&pods)?;
        cluster.kubernetes.behave(&Behaviour { answer, delay_ms, ..Behaviour::default() })?;
        // Open watches go on unless they are cut.
        cluster.kubernetes.cut_open_watches()?;
        load.until_more(size.tries)?;
        cluster.kubernetes.behave(&Behaviour::default())?;
        let end = ended()?;
        load.until_more(size.tries)?;
        rows.push(Row::new(what, Fails::Never, load, end)?);
    }
    Ok(rows)
}

pub(crate) fn metadata_service_away(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let pods = pods(cluster, "web", size)?;
    let _agent = cluster.agent().start()?;
    let mut load = cluster.load(&pods)?;
    cluster.metadata.pause()?;
    load.until_more(size.tries)?;
    cluster.metadata.resume()?;
    let end = ended()?;
    load.until_more(size.tries)?;
    Ok(vec![Row::new("the node's metadata service away", Fails::Never, load, end)?])
}

/// The time of day alone, as when somebody sets it; STS's is right all the time.
pub(crate) fn clock_stepped(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let clock = Clock::new(cluster.directory())?;
    let pods = pods(cluster, "web", size)?;
    let _agent = cluster.agent().by(&clock).start()?;
    let mut rows = Vec::new();
    for (what, fails, minutes) in [
        ("clock 60 minutes behind", Fails::Never, -60),
        ("clock 20 minutes ahead", Fails::Never, 20),
        // What is held seems to have ended, and what is got to end at once: none is better than one that
        // may have ended.
        ("clock 2 hours ahead", Fails::Meanwhile, 120),
    ] {
        let mut load = cluster.load(&pods)?;
        load.between(|| clock.step(minutes * 60))?;
        load.until_more(size.tries)?;
        load.between(|| clock.step(0))?;
        let end = ended()?;
        for pod in &pods {
            wait::until_true("credentials", || {
                Ok(pod.get(&format!("{LIST}{}", pod.name))?.status == 200)
            })?;
        }
        load.until_more(size.tries)?;
        rows.push(Row::new(what, fails, load, end)?);
    }
    Ok(rows)
}
