//! What some nodes' agents cost the API server of the whole cluster: their real watches, on pods, on their
//! own Node, and on what roles depend on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::watch as channel;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Figures;
use super::api_server::{ApiServer, Counts, Object, node_name};
use super::trace::{BEFORE, Cluster, DAY, Life};
use crate::callers::fresh::Fresh;
use crate::callers::pods::Index;
use crate::callers::snapshot::Snapshot;
use crate::callers::watch::{Remembered, Watch, own_node};
use crate::operate::events::Events;
use crate::operate::metrics;
use crate::roles::lookups::watches::Watches;
use crate::roles::mode::MODE_LABEL;
use crate::roles::{Roles, Rules};

/// Nodes whose agents are watched.
const SAMPLE: u32 = 3;
/// What the API server tells of a new pod, by the time since it was scheduled.
const BEGIN: [(Duration, &str); 4] = [
    (Duration::ZERO, "Pending"),
    (Duration::from_millis(400), "Pending"),
    (Duration::from_secs(2), "Running"),
    (Duration::from_secs(8), "Running"),
];
/// And of one that ends: asked to, its containers gone.
const END: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3)];
const GONE: Duration = Duration::from_secs(4);

/// A change of a pod. There are millions of them.
struct Change {
    milliseconds: u64,
    number: u64,
    node: u32,
    workload: u32,
    to: To,
}

#[derive(Clone, Copy)]
enum To {
    Phase(&'static str),
    Ending,
    Gone,
}

/// Puts what an agent costs in a day into `figures`, beside what one that watches the whole cluster would.
pub(super) fn tell(cluster: &Cluster, figures: &mut Figures) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let counts = runtime.block_on(live(cluster));
    let agents = f64::from(u32::try_from(counts.len()).unwrap());
    let mean =
        |of: &dyn Fn(&Counts) -> f64| counts.iter().map(|counts| of(counts)).sum::<f64>() / agents;
    let nodes = cluster.nodes;
    let mut add = |which: &str, what: &str, unit: &'static str, value: f64| {
        let what = format!("{nodes} nodes, {what} of an agent");
        figures.add(&format!("agent-{nodes}-{which}"), &what, unit, value);
    };
    let now = |counts: &Counts| i32::try_from(counts.watches.load(Ordering::Relaxed)).unwrap();
    add("watches", "open watches", "count", mean(&|counts| f64::from(now(counts))));
    let lists = |counts: &Counts| kib(counts.list_bytes.load(Ordering::Relaxed));
    add("list-bytes", "lists in a day", "kibibytes", mean(&lists));
    let events = |counts: &Counts| kib(counts.event_bytes.load(Ordering::Relaxed));
    add("event-bytes", "events in a day", "kibibytes", mean(&events));
}

fn kib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap())
}

/// The day of the cluster.
async fn live(cluster: &Cluster) -> Vec<Arc<Counts>> {
    let (server, start) = (ApiServer::default(), Instant::now());
    let changes = changes(cluster);
    let mut changes = changes.into_iter().peekable();
    // What was there before the agents.
    while let Some(change) = changes.next_if(|change| change.milliseconds == 0) {
        apply(&server, &change);
    }
    let nodes: Vec<u32> = (0..SAMPLE.min(cluster.nodes)).collect();
    let agents: Vec<Agent> = nodes.iter().map(|node| Agent::start(&server, *node)).collect();
    sleep_until(start + Duration::from_secs(30)).await;
    for agent in &agents {
        assert!(agent.pods.borrow().is_listed(), "the agent watches nothing");
    }
    for change in changes {
        // Time stands still for what nobody is told of.
        if server.is_watched(change.node) {
            sleep_until(start + Duration::from_millis(change.milliseconds)).await;
        }
        apply(&server, &change);
    }
    sleep_until(start + BEFORE + DAY).await;
    let counts = agents.iter().map(|agent| {
        let pods = usize::try_from(cluster.pods).unwrap();
        assert_eq!(agent.pods.borrow().len(), pods, "the agent knows its pods");
        Arc::clone(&agent.counts)
    });
    counts.collect()
}

fn apply(server: &ApiServer, change: &Change) {
    let Change { number, node, workload, to, .. } = *change;
    let object = |phase, is_ending| {
        let namespace = Cluster::namespace(workload);
        Some(Object { node, number, workload, namespace, phase, is_ending })
    };
    let object = match to {
        To::Phase(phase) => object(phase, false),
        To::Ending => object("Running", true),
        To::Gone => None,
    };
    server.change(number, object);
}

/// Everything that happens to pods of the cluster, in order.
fn changes(cluster: &Cluster) -> Vec<Change> {
    let mut changes = Vec::new();
    for node in 0..cluster.nodes {
        for Life { number, workload, start, end } in cluster.lives(node) {
            let change = |at: Duration, to| Change {
                milliseconds: u64::try_from(at.as_millis()).unwrap(),
                number,
                node,
                workload,
                to,
            };
            match start {
                None => changes.push(change(Duration::ZERO, To::Phase("Running"))),
                Some(start) => {
                    let begin = BEGIN.iter();
                    changes.extend(
                        begin.map(|(after, phase)| change(start + *after, To::Phase(phase))),
                    );
                }
            }
            if let Some(end) = end {
                changes.extend(END.iter().map(|after| change(end + *after, To::Ending)));
                changes.push(change(end + GONE, To::Gone));
            }
        }
    }
    changes.sort_by_key(|change| change.milliseconds);
    changes
}

/// The watches of one node's agent.
struct Agent {
    counts: Arc<Counts>,
    pods: channel::Receiver<Index>,
    _tasks: JoinSet<()>,
    _state: tempfile::TempDir,
}

impl Agent {
    fn start(server: &ApiServer, node: u32) -> Self {
        let counts = Arc::<Counts>::default();
        let client = server.client(&counts);
        let state = tempfile::tempdir().unwrap();
        let (index, pods) = channel::channel(Index::default());
        let rules = Rules::fixture();
        let snapshot = Snapshot::new(state.path(), &node_name(node), Vec::new());
        let silence = metrics::Watches::default();
        let watch = Watch {
            client: client.clone(),
            node_name: node_name(node),
            annotations: rules.keys.of_pods().map(str::to_owned).collect(),
            labels: rules.labels_of_pods().map(str::to_owned).collect(),
            fresh: Fresh::default(),
            remembered: Remembered::load(&snapshot, state.path().to_owned()),
            watches: silence.clone(),
            index,
        };
        let labels = rules.labels_of_namespaces().map(str::to_owned).collect();
        let (heard, _) = channel::channel(own_node::Label::default());
        let own_node = own_node::follow(client.clone(), node_name(node), MODE_LABEL, heard);
        let watches = Watches::new(client, rules.keys.clone(), labels, silence);
        let (events, _) = Events::unwritten();
        let (_, lookups) = Roles::new(rules, watches, pods.clone(), events);
        let mut tasks = JoinSet::new();
        tasks.spawn(watch.run(|_| {}));
        tasks.spawn(own_node);
        tasks.spawn(lookups.run(std::future::pending()));
        Self { counts, pods, _tasks: tasks, _state: state }
    }
}
