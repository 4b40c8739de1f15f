//! An STS that fails for most of an hour: no client notices. Agent and STS go by a clock that the test moves,
//! so that sessions are those of an hour, and end when they say.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::{Sts, role_arn};
use podrole_tests::clients::{self, CURL, Client};
use podrole_tests::clock::Clock;
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::wait;

const ROLE: &str = "web";
/// STS is away for so many minutes: a session of an hour can bridge no more, for it is served until its
/// last minute.
const AWAY: i64 = 58;
/// The clock is moved by so many minutes at once.
const STEP: usize = 3;
/// After so many steps, each client asks; after all others the quickest does.
const ALL_ASK: usize = 6;

/// Lets a client look for credentials; the key that it found.
fn ask(pod: &Pod<'_>, client: &Client) -> Result<String> {
    let found = pod.credentials_by(client)?;
    let found = found.with_context(|| format!("{} found no credentials", client.name))?;
    ensure!(found.session()?.role == role_arn(ROLE), "{} has another role", client.name);
    Ok(found.access_key_id)
}

#[test]
fn no_client_sees_an_outage_of_sts() -> Result<()> {
    Cluster::with(|cluster| {
        let clock = Clock::new(cluster.directory())?;
        let sts = Sts::start_by(&clock, &cluster.outside_place(), cluster.directory())?;
        let pod = cluster.pod("web").role(ROLE).start()?;
        let late = cluster.pod("late").role("late").start()?;
        assert!(pod.node_credentials()?.is_some());
        let agent = cluster.agent().by(&clock).env("AWS_ENDPOINT_URL_STS", sts.url());
        let _agent = agent.set("--prefetch", "off").start()?;
        // On a busy machine the first answer may be to come again.
        wait::until_true("a session", || Ok(pod.get(&format!("{LIST}{ROLE}"))?.status == 200))?;
        let first = pod.credentials_of(ROLE)?.access_key_id;
        sts.behave_to_all(Way::InternalFailure)?;
        // STS is down indeed, for who has nothing yet.
        assert_eq!(late.get(&format!("{LIST}late"))?.status, 503);

        let mut keys = BTreeSet::new();
        for (minutes, step) in (1..=AWAY).step_by(STEP).zip(1..) {
            clock.pass(minutes * 60)?;
            for client in clients::FEW.iter().filter(|it| step % ALL_ASK == 0 || it.id == CURL.id) {
                let found = ask(&pod, client);
                keys.insert(found.with_context(|| format!("after {minutes} minutes"))?);
            }
        }
        assert_eq!(keys, BTreeSet::from([first.clone()]));
        // The refresh was due in the middle of it, and was tried.
        assert!(sts.asked_for(ROLE)?.len() >= 3, "{:?}", sts.asked_for(ROLE)?.len());

        sts.behave_to_all(Way::Normal)?;
        // After so many failures STS is asked seldom.
        wait::until("new credentials", Duration::from_mins(2), || {
            Ok((ask(&pod, &CURL)? != first).then_some(()))
        })?;
        for client in clients::FEW {
            assert_ne!(ask(&pod, client)?, first, "{}", client.name);
        }
        // What was held ends, and what is new lasts.
        clock.pass((AWAY + 20) * 60)?;
        for client in clients::FEW {
            assert_ne!(ask(&pod, client)?, first, "{}", client.name);
        }
        Ok(())
    })
}
