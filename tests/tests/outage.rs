//! An STS that fails when sessions are due for their refresh: no client notices. The agent's clock is the
//! kernel's, so time is scaled: a session of 90 s in place of an hour, refreshed with 67 to 75 s left and
//! served to its last minute. What whole hours bring is simulated in the broker's own tests.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::{self, Client};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::wait;

/// Roles of this name get sessions of 90 s.
const ROLE: &str = "short";
/// In which the refresh must have come, on a busy machine.
const A_SESSION: Duration = Duration::from_secs(50);

/// Lets a client look for credentials again and again; the keys that it found.
fn ask_until(over: &AtomicBool, pod: &Pod<'_>, client: &Client) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    while !over.load(Ordering::SeqCst) {
        let found = pod.credentials_by(client)?;
        let found = found.with_context(|| format!("{} found no credentials", client.name))?;
        ensure!(found.session()?.role == role_arn(ROLE), "{} has another role", client.name);
        keys.insert(found.access_key_id);
    }
    Ok(keys)
}

#[test]
fn no_client_sees_an_outage_of_sts() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role(ROLE).start()?;
        let late = cluster.pod("late").role("late").start()?;
        assert!(pod.node_credentials()?.is_some());
        let _agent = cluster.agent().set("--prefetch", "off").start()?;
        let first = pod.credentials_of(ROLE)?.access_key_id;
        for role in [ROLE, "late"] {
            cluster.sts.behave(role, Way::InternalFailure, Duration::ZERO)?;
        }
        // STS is down indeed, for who has nothing yet.
        assert_eq!(late.get(&format!("{LIST}late"))?.status, 503);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let asking: Vec<_> = clients::FEW
                .iter()
                .map(|client| scope.spawn(|| ask_until(&over, &pod, client)))
                .collect();
            let outage = || {
                wait::until("a refresh that fails", A_SESSION, || {
                    Ok((cluster.sts.asked_for(ROLE)?.len() >= 2).then_some(()))
                })?;
                cluster.sts.behave(ROLE, Way::ShortSession, Duration::ZERO)?;
                wait::until("new credentials", A_SESSION, || {
                    Ok((pod.credentials_of(ROLE)?.access_key_id != first).then_some(()))
                })
            };
            let ended = outage();
            over.store(true, Ordering::SeqCst);
            for thread in asking {
                let keys = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
                assert!(keys.contains(&first), "{keys:?}");
            }
            ended
        })
    })
}
