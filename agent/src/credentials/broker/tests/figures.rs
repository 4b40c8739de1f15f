//! What it costs AWS: figures, each with the bound that it must keep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::*;
use super::bench::{Bench, HOUR, MINUTE, pod, well};
use crate::callers::pods::Pod;
use crate::credentials::SessionPlan;
use crate::credentials::plan::SessionTags;
use crate::roles::{AssumeRole, Grant, Rule, Way};

/// Tells a figure to whoever runs the test with `--nocapture`.
#[expect(clippy::print_stdout, reason = "figures are to be read")]
fn tell(figure: std::fmt::Arguments<'_>) {
    println!("{figure}");
}

/// Of 110 pods of 12 workloads, each one's session.
fn sessions(tags: SessionTags) -> Vec<(PodUid, SessionRequest)> {
    let plan = SessionPlan { tags, ..SessionPlan::fixture() };
    let role = "arn:aws:iam::123456789012:role/web".parse().unwrap();
    let way = Way::AssumeRole(Box::new(AssumeRole::plain(role)));
    let grant = Grant { rule: Rule::PodAnnotation, way };
    let session = |n: usize| {
        let service_account = format!("workload-{}", n % 12).into();
        let of = Pod { service_account, ..Pod::fixture(&format!("pod-{n}"), &[]) };
        let request = plan.request(&of, &grant).unwrap();
        (of.uid, request)
    };
    (0..110).map(session).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_of_110_pods_of_12_workloads_in_a_day() {
    for (mode, tags, keys) in [
        ("pod", SessionTags::Pod, 110),
        ("workload", SessionTags::Workload, 12),
        ("none", SessionTags::None, 110),
    ] {
        let bench = Bench::new(well, Chance::Random(2));
        for (of, request) in sessions(tags) {
            bench.broker.assign(of, Some(request), Prefetch::Now);
        }
        bench.at(24 * HOUR).await;
        assert_eq!(bench.meters.held(), keys);
        let calls = f64::from(u32::try_from(bench.call_count()).unwrap());
        let hourly = calls / 24.0;
        let of_each_pod = hourly / 110.0;
        tell(format_args!(
            "{mode}: {calls} calls, {hourly:.1} an hour, {of_each_pod:.3} a pod-hour"
        ));
        let of_each_session = hourly / f64::from(i32::try_from(keys).unwrap());
        assert!((2.0..2.4).contains(&of_each_session), "{of_each_session}");
    }
}

/// Counts the calls of each second, for all nodes.
struct Shared {
    seconds: Arc<Vec<AtomicU32>>,
    start: Instant,
    clock: Clock,
}

impl Source for Shared {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        let second = usize::try_from(self.start.elapsed().as_secs()).unwrap();
        if let Some(count) = self.seconds.get(second) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(50)).await;
        let obtained = self.clock.now();
        Ok(Credentials {
            role: request.role().unwrap().clone(),
            access_key_id: request.name().into(),
            secret_access_key: SecretString::from("secret"),
            session_token: SecretString::from("token"),
            expiration: obtained + HOUR,
            obtained,
        })
    }
}

/// The agents of all nodes start at once. Of the pods of each node, every one's own credentials have
/// between 0 and 25 more minutes until its SDK asks for new ones. Calls by the second.
async fn start_at_once(nodes: u64, watched: Duration) -> Vec<u32> {
    const PODS: u64 = 30;
    let start = Instant::now();
    let clock = Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let seconds: Arc<Vec<AtomicU32>> =
        Arc::new((0..watched.as_secs()).map(|_| AtomicU32::new(0)).collect());
    let mut all = tokio::task::JoinSet::new();
    for node in 0..nodes {
        let source = Shared { seconds: Arc::clone(&seconds), start, clock: clock.clone() };
        let chance = Chance::Random(node.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (broker, task) = Broker::with_chance(source, clock.clone(), Meters::default(), chance);
        let mut chance = Chance::Random(node);
        let mut asks: Vec<_> = (0..PODS)
            .map(|n| (start + (25 * MINUTE).mul_f64(chance.next()), format!("pod-{n}")))
            .collect();
        asks.sort();
        all.spawn(async move {
            let life = async {
                for (_, name) in &asks {
                    broker.assign(pod(name), Some(SessionRequest::fixture(name)), Prefetch::Spread);
                }
                for (at, name) in asks.iter().filter(|(at, _)| *at < start + watched) {
                    sleep_until(*at).await;
                    let soon = *at + Duration::from_millis(900);
                    let request = SessionRequest::fixture(name);
                    let answer = broker.get(&pod(name), &request, soon).await;
                    answer.unwrap().unwrap();
                }
                sleep_until(start + watched).await;
            };
            tokio::select! {
                () = life => {}
                () = task => {}
            }
        });
    }
    all.join_all().await;
    seconds.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

#[tokio::test(start_paused = true)]
async fn agents_of_50_nodes_that_start_at_once_make_6_calls_a_second() {
    let calls = start_at_once(50, 10 * MINUTE).await;
    // So few nodes are many only over time: 6 calls a second, in each minute.
    let most = calls.chunks(60).map(|minute| minute.iter().sum::<u32>()).max();
    assert!(most.unwrap() <= 60 * 6, "{most:?} in a minute");
    let all = calls.iter().sum::<u32>();
    assert!((1500..1560).contains(&all), "{all}");
}

#[ignore = "takes a minute: the figure, for which all nodes must be there"]
#[tokio::test(start_paused = true)]
async fn agents_of_5000_nodes_that_start_at_once_stay_below_600_calls_a_second() {
    let calls = start_at_once(5000, 25 * MINUTE).await;
    let most = calls.iter().max().copied().unwrap();
    let all: u32 = calls.iter().sum();
    let last = calls.iter().rposition(|count| *count > 100).unwrap_or_default();
    tell(format_args!(
        "5000 nodes of 30 pods: at most {most} calls a second, {all} in all, more than 100 a second for {last} s"
    ));
    assert!(most <= 600, "{most} calls in one second");
}
