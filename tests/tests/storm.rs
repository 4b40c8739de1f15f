//! Hundreds of pods start at once, and each asks at its first instruction, when the API server has not
//! been told its address yet.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::aws::role_arn;
use podrole_tests::clients::Credentials;
use podrole_tests::cluster::Cluster;
use podrole_tests::first::First;
use podrole_tests::pod::{self, Pod};
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

/// Each asks as soon as its process is there.
fn ask_all(pods: &[Pod<'_>]) -> Result<Vec<First>> {
    let asking = pods.iter().map(|pod| pod.ask_first()).collect::<Result<Vec<_>>>()?;
    asking.into_iter().map(podrole_tests::first::Asking::finish).collect()
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

#[test]
fn hundreds_of_pods_that_start_at_once_each_get_their_own_role_at_the_first_request() -> Result<()>
{
    Cluster::with(|cluster| {
        let count = count()?;
        let witness = cluster.pod("witness").start()?;
        assert!(witness.node_credentials()?.is_some());
        let _agent = cluster.agent().start()?;
        let began = Instant::now();
        let pods = pods(cluster, count)?;
        println!("{count} pods made in {:?}", began.elapsed());
        let began = Instant::now();
        let answers = ask_all(&pods)?;
        println!("all answered {:?} after the first started", began.elapsed());
        let right = pods
            .iter()
            .zip(&answers)
            .filter(|(pod, first)| (first.status, &first.said) == (200, &pod.name));
        let right = right.count();
        println!(
            "first request of a new pod: p50 {:?}, p99 {:?}, longest {:?}; {} of {count} failed",
            percentile(&answers, 50),
            percentile(&answers, 99),
            percentile(&answers, 100),
            count - right
        );
        for (pod, first) in pods.iter().zip(&answers) {
            ensure!(first.status != 200 || first.said == pod.name, "{}: {first:?}", pod.name);
            if first.status == 200 {
                check_credentials(pod, first).with_context(|| pod.name.clone())?;
            }
        }
        let began = Instant::now();
        pod::stop_all(pods)?;
        println!("stopped in {:?}", began.elapsed());
        assert_eq!(right, count, "{:?}", answers.iter().find(|first| first.status != 200));
        Ok(())
    })
}
