//! The lives of a cluster's pods and agents over a day, the same each time.

use std::time::Duration;

/// Pods of a node, at most.
pub(super) const NODE_PODS: u32 = 30;
/// Pods of a workload, on average.
const WORKLOAD_PODS: u32 = 20;
/// Workloads of a namespace.
const NAMESPACE_WORKLOADS: u32 = 5;

/// What is counted.
pub(super) const DAY: Duration = Duration::from_hours(24);
/// What is simulated before, so that the day begins as any does.
pub(super) const BEFORE: Duration = Duration::from_hours(2);
const ALL: Duration = BEFORE.saturating_add(DAY);

/// Each workload is deployed so often, between 8:00 and 20:00.
const DEPLOYS: u64 = 3;
const WORKING: (Duration, Duration) = (Duration::from_hours(8), Duration::from_hours(12));
/// A deploy replaces its pods within this.
const ROLLOUT: Duration = Duration::from_mins(10);
/// So many of a hundred nodes are replaced within the day; their pods start within this.
const REPLACED: f64 = 0.1;
const REFILL: Duration = Duration::from_mins(2);
/// When the region restarts: agents within a minute, pods within five.
const RESTART: Duration = Duration::from_hours(15);
const AGENTS_BACK: Duration = Duration::from_mins(1);
const PODS_BACK: Duration = Duration::from_mins(5);

/// A cluster. Times are since [`BEFORE`] midnight.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: u32,
    /// Of each node.
    pub(super) pods: u32,
}

/// The life of a pod on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Of all pods of the cluster.
    pub(super) number: u64,
    pub(super) workload: u32,
    /// `None` for one that was there before.
    pub(super) start: Option<Duration>,
    /// `None` for one that stays.
    pub(super) end: Option<Duration>,
}

impl Life {
    /// Whether it is there at that time.
    pub(super) fn is_at(&self, time: Duration) -> bool {
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time < end)
    }
}

/// A number from 0 to 1 that is the same for the same question each time (`SplitMix64`).
pub(super) fn draw(question: &[u64]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in question {
        state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    let [a, b, c, d, ..] = state.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

impl Cluster {
    pub(super) fn workloads(&self) -> u32 {
        (self.nodes * self.pods / WORKLOAD_PODS).max(1)
    }

    pub(super) fn namespace(workload: u32) -> u32 {
        workload / NAMESPACE_WORKLOADS
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number below that of workloads"
    )]
    fn workload(&self, node: u32, place: u32) -> u32 {
        (draw(&[1, node.into(), place.into()]) * f64::from(self.workloads())) as u32
    }

    /// When a node is replaced by a new one, if it is.
    fn replaced(node: u32) -> Option<Duration> {
        let node = u64::from(node);
        (draw(&[2, node]) < REPLACED).then(|| BEFORE + DAY.mul_f64(draw(&[3, node])))
    }

    /// When the node's agent starts: in the hours before the day, and with each new node.
    pub(super) fn agent_starts(node: u32) -> Vec<Duration> {
        let first = Duration::from_mins(30).mul_f64(draw(&[4, u64::from(node)]));
        let restart = BEFORE + RESTART + AGENTS_BACK.mul_f64(draw(&[5, u64::from(node)]));
        let mut starts = vec![first, restart];
        starts.extend(Self::replaced(node));
        starts.sort();
        starts
    }

    /// The pods of a node, those of one place one after the other.
    pub(super) fn lives(&self, node: u32) -> Vec<Life> {
        (0..self.pods).flat_map(|place| self.lives_of_place(node, place)).collect()
    }

    fn lives_of_place(&self, node: u32, place: u32) -> Vec<Life> {
        let workload = self.workload(node, place);
        let (of_node, of_place) = (u64::from(node), u64::from(place));
        let own = |what: u64| draw(&[what, of_node, of_place]);
        let mut changes: Vec<Duration> = (0..DEPLOYS)
            .map(|deploy| {
                let at = WORKING.1.mul_f64(draw(&[6, u64::from(workload), deploy]));
                let within = ROLLOUT.mul_f64(draw(&[7, of_node, of_place, deploy]));
                BEFORE + WORKING.0 + at + within
            })
            .collect();
        changes.extend(Self::replaced(node).map(|at| at + REFILL.mul_f64(own(8))));
        changes.push(BEFORE + RESTART + AGENTS_BACK + PODS_BACK.mul_f64(own(9)));
        changes.retain(|at| *at < ALL);
        changes.sort();
        let starts = std::iter::once(None).chain(changes.iter().copied().map(Some));
        let ends = changes.iter().copied().map(Some).chain([None]);
        let number = |life: u64| (of_node * u64::from(NODE_PODS) + of_place) * 16 + life;
        let lives = starts.zip(ends).zip(0_u64..);
        lives
            .map(|((start, end), life)| Life { number: number(life), workload, start, end })
            .collect()
    }
}

#[test]
fn a_node_always_has_its_pods_but_for_moments() {
    let cluster = Cluster { nodes: 10, pods: NODE_PODS };
    for node in 0..cluster.nodes {
        let lives = cluster.lives(node);
        for minute in (0..ALL.as_secs()).step_by(600) {
            let there = lives.iter().filter(|life| life.is_at(Duration::from_secs(minute))).count();
            assert_eq!(there, 30, "node {node}, minute {minute}");
        }
        assert!(lives.len() >= 30 * 5, "deploys and the restart replace each pod");
    }
}
