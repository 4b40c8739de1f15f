//! The brokers of nodes, each with its own pods, one after the other: nodes know nothing of each other, so that
//! each can live its day alone, and hundreds can stand for thousands.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::Calls;
use super::trace::{BEFORE, Cluster, DAY, Life, draw};
use crate::callers::pods::{Pod, PodUid};
use crate::clock::Clock;
use crate::credentials::broker::Meters;
use crate::credentials::plan::SessionTags;
use crate::credentials::prefetch::Policy;
use crate::credentials::{Broker, Credentials, FetchError, SessionPlan, SessionRequest, Source};
use crate::roles::{AssumeRole, Grant, Rule, Way};

/// How long STS takes.
const STS: Duration = Duration::from_millis(80);
/// SDKs ask anew with so much left (botocore's advisory refresh).
const SDK_ASKS: Duration = Duration::from_mins(15);
/// From a pod's start to its first question.
const FIRST: Duration = Duration::from_secs(1);

/// So many nodes are simulated, or all.
const SIMULATED: u32 = 400;

/// What all nodes ask of STS over the day.
pub(super) fn calls(cluster: &Cluster, tags: SessionTags) -> Calls {
    let simulated = cluster.nodes.min(SIMULATED);
    let each = f64::from(cluster.nodes) / f64::from(simulated);
    let (calls, next) = (Arc::new(Calls::new(each)), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let node = next.fetch_add(1, Ordering::Relaxed);
                    if node >= simulated {
                        break;
                    }
                    // From all over the cluster.
                    live(cluster, node * (cluster.nodes / simulated), tags, &calls);
                }
            });
        }
    });
    Arc::into_inner(calls).unwrap()
}

fn live(cluster: &Cluster, node: u32, tags: SessionTags, calls: &Arc<Calls>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut day = Day::new(cluster, node, tags, calls);
        // Pods that stay would ask for ever.
        while let Some(Reverse((at, what))) = day.queue.pop()
            && at < BEFORE + DAY
        {
            sleep_until(day.start + at).await;
            day.take(at, what).await;
        }
        sleep_until(day.start + BEFORE + DAY).await;
    });
}

/// What happens next: to the agent, or to the pod of this number among the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Ends(usize),
    AgentStarts,
    Starts(usize),
    Asks(usize),
}

struct Day {
    start: Instant,
    clock: Clock,
    calls: Arc<Calls>,
    node: u32,
    lives: Vec<Life>,
    pods: Vec<(Pod, Grant, SessionRequest)>,
    queue: BinaryHeap<Reverse<(Duration, What)>>,
    agent: Option<(Broker, JoinHandle<()>)>,
}

impl Day {
    fn new(cluster: &Cluster, node: u32, tags: SessionTags, calls: &Arc<Calls>) -> Self {
        let midnight = SystemTime::UNIX_EPOCH + Duration::from_hours(472_224);
        let clock = Clock::starting_at(midnight - BEFORE);
        let lives = cluster.lives(node);
        let pods = lives.iter().map(|life| pod(life, midnight - BEFORE, tags)).collect();
        let mut queue = BinaryHeap::new();
        queue.extend(
            Cluster::agent_starts(node).into_iter().map(|at| Reverse((at, What::AgentStarts))),
        );
        for (which, life) in lives.iter().enumerate() {
            // Those from before asked at some time, and will again.
            let before = DAY.mul_f64(draw(&[20, life.number])) / 24;
            queue.push(Reverse((life.start.unwrap_or(before), What::Starts(which))));
            queue.extend(life.end.map(|at| Reverse((at, What::Ends(which)))));
        }
        let calls = Arc::clone(calls);
        Self { start: Instant::now(), clock, calls, node, lives, pods, queue, agent: None }
    }

    async fn take(&mut self, at: Duration, what: What) {
        match what {
            What::AgentStarts => self.start_agent(at),
            What::Starts(which) => {
                self.assign(which);
                self.queue.push(Reverse((at + FIRST, What::Asks(which))));
            }
            What::Ends(which) => {
                if let Some((broker, _)) = &self.agent {
                    broker.forget(self.pods[which].0.uid.clone());
                }
            }
            What::Asks(which) if self.lives[which].is_at(at) => {
                let again = self.ask(which).await;
                self.queue.push(Reverse((at + again, What::Asks(which))));
            }
            What::Asks(_) => {}
        }
    }

    fn start_agent(&mut self, at: Duration) {
        if let Some((_, task)) = self.agent.take() {
            task.abort();
        }
        let source =
            Sts { start: self.start, clock: self.clock.clone(), calls: Arc::clone(&self.calls) };
        let seed = u64::from(self.node) << 32 | at.as_secs();
        let (broker, task) = Broker::seeded(source, self.clock.clone(), Meters::default(), seed);
        #[expect(clippy::disallowed_methods, reason = "aborted with its agent")]
        let task = tokio::spawn(task);
        self.agent = Some((broker, task));
        for which in 0..self.lives.len() {
            if self.lives[which].is_at(at) {
                self.assign(which);
            }
        }
    }

    fn assign(&self, which: usize) {
        let Some((broker, _)) = &self.agent else { return };
        let (pod, grant, request) = &self.pods[which];
        let prefetch = Policy::Mapped.of(pod, grant, self.clock.now());
        broker.assign(pod.uid.clone(), Some(request.clone()), prefetch);
    }

    /// How long the answer lasts, for an SDK.
    async fn ask(&self, which: usize) -> Duration {
        const AGAIN: Duration = Duration::from_secs(2);
        let Some((broker, _)) = &self.agent else { return AGAIN };
        let (pod, _, request) = &self.pods[which];
        let deadline = Instant::now() + Duration::from_millis(900);
        let answer = broker.get(&pod.uid, request, deadline).await;
        let Ok(Ok(credentials)) = answer else { return AGAIN };
        let left = credentials.expiration.duration_since(self.clock.now()).unwrap_or_default();
        // Programs use their credentials every few seconds, and look then.
        left.saturating_sub(SDK_ASKS) + Duration::from_secs(5).mul_f64(draw(&[21, left.as_secs()]))
    }
}

fn pod(life: &Life, start: SystemTime, tags: SessionTags) -> (Pod, Grant, SessionRequest) {
    let Life { number, workload, .. } = life;
    let created = life.start.map_or(start - DAY, |at| start + at);
    let pod = Pod {
        uid: PodUid::new(&format!("{number:08x}-0011-4abc-8def-0123456789ab")),
        namespace: format!("team-{}", Cluster::namespace(*workload)).into(),
        name: format!("workload-{workload}-{number}").into(),
        service_account: format!("workload-{workload}").into(),
        created,
        ..Pod::fixture("", &[])
    };
    let role = format!("arn:aws:iam::123456789012:role/workload-{workload}").parse().unwrap();
    let way = Way::AssumeRole(Box::new(AssumeRole::plain(role)));
    let grant = Grant { rule: Rule::PodAnnotation, way };
    let plan = SessionPlan { tags, ..SessionPlan::fixture() };
    let request = plan.request(&pod, &grant).unwrap();
    (pod, grant, request)
}

/// An STS that only counts.
struct Sts {
    start: Instant,
    clock: Clock,
    calls: Arc<Calls>,
}

impl Source for Sts {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        let at = self.start.elapsed().checked_sub(BEFORE);
        self.calls.count(at.map(|at| at.as_secs()));
        sleep(STS).await;
        let obtained = self.clock.now();
        Ok(Credentials {
            role: request.role().unwrap().clone(),
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: SecretString::from("secret"),
            session_token: SecretString::from("token"),
            expiration: obtained + Duration::from_hours(1),
            obtained,
        })
    }
}

#[test]
fn a_day_ends_and_its_calls_are_counted() {
    let calls = calls(&Cluster { nodes: 1, pods: 3 }, SessionTags::Pod);
    let pod_hour = calls.all() / (3.0 * 24.0);
    assert!((2.0..2.8).contains(&pod_hour), "{pod_hour} calls a pod-hour");
}
