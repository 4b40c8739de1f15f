//! Hundreds of pods start at once, and each asks at its first instruction, when the API server has not
//! been told its address yet.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::Credentials;
use podrole_tests::cluster::Cluster;
use podrole_tests::first::{Asking, First};
use podrole_tests::pod::{self, Pod};
use podrole_tests::wait;
use tokio::time::Instant;

/// How many pods, unless the environment says.
const PODS: usize = 500;
const PODS_VARIABLE: &str = "PODROLE_TEST_STORM";

fn count() -> Result<usize> {
    let said = std::env::var(PODS_VARIABLE).ok();
    said.map_or(Ok(PODS), |said| said.parse().context(PODS_VARIABLE))
}

/// Pods of a role each, whose addresses nobody was told of.
fn pods(cluster: &Cluster, count: usize) -> Result<Vec<Pod<'_>>> {
    let names = (0..count).map(|number| format!("storm-{number}"));
    pod::start_all(names.map(|name| cluster.pod(&name).role(&name).unreported()).collect())
}

/// Each asks as soon as its process is there. Where kubelet reports, it does so that long after.
fn ask_all(pods: &[Pod<'_>], reported_after: Option<Duration>) -> Result<Vec<First>> {
    thread::scope(|scope| {
        let (started, to_report) = mpsc::channel::<(&Pod<'_>, Instant)>();
        let reporter = scope.spawn(move || -> Result<()> {
            for (pod, started) in to_report {
                let Some(after) = reported_after else { continue };
                wait::until_true("the time of the report", || Ok(started.elapsed() >= after))?;
                pod.report("Running")?;
            }
            Ok(())
        });
        let mut asking = Vec::new();
        for pod in pods {
            asking.push(pod.ask_first()?);
            let sent = started.send((pod, Instant::now()));
            sent.map_err(|_| anyhow!("the reporter has ended"))?;
        }
        drop(started);
        let answers = asking.into_iter().map(Asking::finish).collect();
        reporter.join().map_err(|_| anyhow!("the reporter panicked"))??;
        answers
    })
}

/// The credentials are for this pod's own role.
fn check_credentials(pod: &Pod<'_>, first: &First) -> Result<()> {
    let document = first.document.as_deref().context("no credentials")?;
    let session = Credentials::of_document(document, Duration::ZERO)?.session()?;
    ensure!(session.role == role_arn(&pod.name), "{session:?}");
    ensure!(session.tags.get("kubernetes-pod-uid") == Some(&pod.uid), "{session:?}");
    Ok(())
}

/// How long the first answer took, of so many of a hundred at most.
fn percentile(answers: &[First], percent: usize) -> Duration {
    let mut took: Vec<u64> = answers.iter().map(|first| first.took_us).collect();
    took.sort_unstable();
    let at = (took.len() * percent).div_ceil(100).saturating_sub(1);
    Duration::from_micros(took.get(at).copied().unwrap_or_default())
}

/// What came of a storm.
struct Outcome {
    right: usize,
    answers: Vec<First>,
}

/// So many pods ask at once; none gets anything of another's.
fn storm(cluster: &Cluster, count: usize, reported_after: Option<Duration>) -> Result<Outcome> {
    let pods = pods(cluster, count)?;
    let answers = ask_all(&pods, reported_after)?;
    let mut right = 0;
    for (pod, first) in pods.iter().zip(&answers) {
        if first.status == 200 {
            ensure!(first.said == pod.name, "{}: {first:?}", pod.name);
            check_credentials(pod, first).with_context(|| pod.name.clone())?;
            right += 1;
        }
    }
    pod::stop_all(pods)?;
    Ok(Outcome { right, answers })
}

fn print(what: &str, outcome: &Outcome) {
    let Outcome { right, answers } = outcome;
    let [half, most, all] = [50, 99, 100].map(|percent| percentile(answers, percent));
    let failed = answers.len() - right;
    println!(
        "{what}: first request of a new pod: p50 {half:?}, p99 {most:?}, longest {all:?}; {failed} of {} failed",
        answers.len()
    );
}

#[test]
fn hundreds_of_pods_that_start_at_once_each_get_their_own_role_at_the_first_request() -> Result<()>
{
    Cluster::with(|cluster| {
        let count = count()?;
        let witness = cluster.pod("witness").start()?;
        assert!(witness.node_credentials()?.is_some());
        let _agent = cluster.agent().start()?;
        let outcome = storm(cluster, count, None)?;
        print("addresses never reported", &outcome);
        let failed = outcome.answers.iter().find(|first| first.status != 200);
        assert_eq!(outcome.right, count, "{failed:?}");
        Ok(())
    })
}

/// Run it with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a promise"]
fn the_first_request_by_cgroup_and_by_address() -> Result<()> {
    for identity in ["kernel", "source-ip"] {
        for (reported, after) in [("never", None), ("at once", Some(0)), ("after 1 s", Some(1000))]
        {
            Cluster::with(|cluster| {
                let _agent = cluster.agent().set("--identity", identity).start()?;
                let outcome = storm(cluster, count()?, after.map(Duration::from_millis))?;
                print(&format!("--identity {identity}, address reported {reported}"), &outcome);
                Ok(())
            })?;
        }
    }
    Ok(())
}
