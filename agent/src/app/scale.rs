//! What clusters of any size cost AWS and the API server over a day: brokers of hundreds of nodes, and the
//! watches of some, on a clock that jumps from event to event.
//!
//! `cargo xtask bench scale` prints it. Pods of a workload have one role; workloads are deployed three times
//! a day, nodes are replaced, and at 15:00 the whole region restarts. How other tools would do on the very
//! same day is in [`peers`].

mod agents;
mod api_server;
mod peers;
mod trace;
mod watches;

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use self::trace::{Cluster, DAY, NODE_PODS};
use crate::credentials::plan::SessionTags;

/// Where figures are written, if anywhere.
const FILE: &str = "PODROLE_FIGURES";
/// The sizes of the clusters, in nodes.
const NODES: &str = "PODROLE_SIMULATED_NODES";

/// A figure, as the benchmarks read it.
#[derive(Serialize)]
struct Figure {
    name: String,
    what: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    AtMost(f64),
}

#[derive(Serialize)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

#[derive(Default, Serialize)]
struct Figures {
    figures: Vec<Figure>,
    lines: Vec<Line>,
}

impl Figures {
    fn add(&mut self, name: &str, what: &str, unit: &'static str, value: f64) {
        let (name, what) = (name.to_owned(), what.to_owned());
        self.figures.push(Figure { name, what, unit, value, target: None });
    }

    #[expect(clippy::print_stdout, reason = "figures are to be read")]
    fn tell(&self) {
        for Figure { name, value, unit, .. } in &self.figures {
            println!("{name}: {value:.3} {unit}");
        }
        if let Ok(file) = std::env::var(FILE) {
            fs::write(file, serde_json::to_string(self).unwrap()).unwrap();
        }
    }
}

/// Calls in each second of the day.
struct Calls {
    seconds: Vec<AtomicU32>,
    /// How many nodes each of those stands for that were simulated.
    each: f64,
}

impl Calls {
    fn new(each: f64) -> Self {
        Self { seconds: (0..DAY.as_secs()).map(|_| AtomicU32::new(0)).collect(), each }
    }

    /// Counts a call; what comes before the day or after it does not count.
    fn count(&self, second: Option<u64>) {
        let second = second.and_then(|second| usize::try_from(second).ok());
        if let Some(calls) = second.and_then(|second| self.seconds.get(second)) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, seconds: &[AtomicU32]) -> f64 {
        let counted = seconds.iter().map(|calls| f64::from(calls.load(Ordering::Relaxed)));
        counted.sum::<f64>() * self.each
    }

    fn all(&self) -> f64 {
        self.of(&self.seconds)
    }

    fn mean(&self) -> f64 {
        self.all() / DAY.as_secs_f64()
    }

    /// Of the busiest minute.
    fn peak(&self) -> f64 {
        self.seconds.chunks(60).map(|minute| self.of(minute) / 60.0).fold(0.0, f64::max)
    }

    /// By the hour, the mean of each ten minutes.
    fn line(&self, name: &str) -> Line {
        let points = self.seconds.chunks(600).zip(0_u32..);
        let points = points.map(|(calls, at)| (f64::from(at) / 6.0, self.of(calls) / 600.0));
        Line { name: name.to_owned(), points: points.collect() }
    }
}

/// Calls of one policy, told beside podrole's.
fn tell_calls(figures: &mut Figures, cluster: &Cluster, who: &str, what: &str, calls: &Calls) {
    let Cluster { nodes, pods } = *cluster;
    let name = |which: &str| format!("{who}-{nodes}-{which}");
    let what = |which: &str| format!("{nodes} nodes, {what}: {which}");
    figures.add(&name("mean"), &what("calls to AWS, mean"), "per_second", calls.mean());
    figures.add(
        &name("peak"),
        &what("calls to AWS, the busiest minute"),
        "per_second",
        calls.peak(),
    );
    let pod_hours = f64::from(nodes) * f64::from(pods) * 24.0;
    figures.add(&name("pod-hour"), &what("calls for a pod-hour"), "count", calls.all() / pod_hours);
}

fn simulate(sizes: &[u32], pods: u32) -> Figures {
    let mut figures = Figures::default();
    let largest = sizes.iter().max().copied().unwrap_or_default();
    for &nodes in sizes {
        let cluster = Cluster { nodes, pods };
        let modes = [
            ("pod", SessionTags::Pod, "podrole with --session-tags=pod"),
            ("workload", SessionTags::Workload, "podrole with --session-tags=workload"),
            ("none", SessionTags::None, "podrole with --session-tags=none"),
        ];
        let mut ours = Vec::new();
        // Without tags the session's name is still the pod's: the smallest cluster shows it.
        let is_smallest = sizes.iter().all(|size| nodes <= *size);
        for (name, tags, what) in modes.into_iter().take(if is_smallest { 3 } else { 2 }) {
            let calls = agents::calls(&cluster, tags);
            tell_calls(&mut figures, &cluster, name, what, &calls);
            if nodes == largest && tags != SessionTags::None {
                figures.lines.push(calls.line(what));
            }
            ours.push(calls.all());
        }
        for (name, what, calls) in peers::all(&cluster) {
            tell_calls(&mut figures, &cluster, name, what, &calls);
            let ratio = format!("{nodes} nodes, calls to AWS: podrole's to those of {what}");
            figures.add(
                &format!("pod-to-{name}-{nodes}"),
                &ratio,
                "ratio",
                ours.first().unwrap() / calls.all(),
            );
            if nodes == largest {
                figures.lines.push(calls.line(what));
            }
        }
        watches::tell(&cluster, &mut figures);
    }
    grows(&mut figures, sizes);
    figures
}

/// What an agent costs the API server must not depend on the size of the cluster, once that has so many
/// namespaces that most of a node's pods have one for themselves there.
fn grows(figures: &mut Figures, sizes: &[u32]) {
    let namespaces = |nodes| Cluster::namespace(Cluster { nodes, pods: NODE_PODS }.workloads());
    let wide = sizes.iter().filter(|nodes| namespaces(**nodes) >= 10 * NODE_PODS);
    let (Some(least), Some(most)) = (wide.clone().min(), wide.max()) else { return };
    for which in ["watches", "list-bytes", "event-bytes"] {
        let of = |nodes: &u32| {
            let name = format!("agent-{nodes}-{which}");
            figures.figures.iter().find(|figure| figure.name == name).unwrap().value
        };
        let value = of(most) / of(least);
        let what = format!("{which} of an agent: with {most} nodes to with {least}");
        let name = format!("agent-{which}-growth");
        // By chance a node's pods are of some namespaces more.
        let target = Some(Target::AtMost(1.25));
        figures.figures.push(Figure { name, what, unit: "ratio", value, target });
    }
}

#[test]
#[ignore = "takes minutes: `cargo xtask bench scale` runs it"]
fn figures_of_scale() {
    let sizes = std::env::var(NODES).unwrap_or_else(|_| "10,100".to_owned());
    let sizes: Vec<u32> = sizes.split(',').map(|nodes| nodes.parse().unwrap()).collect();
    let figures = simulate(&sizes, NODE_PODS);
    figures.tell();
    let least = sizes.iter().min().unwrap();
    let of = |tags: &str| {
        let name = format!("{tags}-{least}-pod-hour");
        figures.figures.iter().find(|figure| figure.name == name).unwrap().value
    };
    assert!((2.0..2.6).contains(&of("pod")), "{} calls a pod-hour", of("pod"));
    assert!((of("none") - of("pod")).abs() < 0.2, "the session's name is the pod's");
    assert!(of("workload") < of("pod"), "pods of a workload share a session");
}
