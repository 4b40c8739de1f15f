//! How other tools would do on the same day, as small models of what decides: who asks AWS, for what, and for
//! how long an answer is kept.
//!
//! | tool | asked for | kept | where |
//! |---|---|---|---|
//! | kube2iam | a role, when a pod of it asks | 15 min of sessions of 30 | each node |
//! | kiam | each role of a pod in the cluster, ahead | 10 min of sessions of 15 | each of 3 servers, 8 fetches at once |
//! | EKS Pod Identity | a pod's session, when it asks | 3 h of sessions of 6 h | each node, 3 refreshes a second |
//!
//! (kube2iam `iam/iam.go`; kiam `pkg/aws/sts/cache.go`, its chart's defaults; eks-pod-identity-agent
//! `internal/cache`.)

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use super::Calls;
use super::trace::{BEFORE, Cluster, DAY, Life, draw};

const MINUTE: Duration = Duration::from_mins(1);
/// With so much left, SDKs ask anew: of metadata credentials, and of container credentials, which are
/// refreshed later by some and never sooner.
const SDK_ASKS: Duration = Duration::from_mins(15);

/// Each by its name, what it is, and its calls.
pub(super) fn all(cluster: &Cluster) -> [(&'static str, &'static str, Calls); 3] {
    [
        ("kube2iam", "kube2iam", kube2iam(cluster)),
        ("kiam", "kiam with 3 servers", kiam(cluster)),
        ("pod-identity", "EKS Pod Identity", pod_identity(cluster)),
    ]
}

fn second(at: Duration) -> Option<u64> {
    at.checked_sub(BEFORE).map(|at| at.as_secs())
}

/// What happens to a node, in order: its agent starts, a pod of it asks.
fn of_node(
    cluster: &Cluster,
    node: u32,
    mut restarted: impl FnMut(),
    mut asks: impl FnMut(Duration, &Life) -> Duration,
) {
    let lives = cluster.lives(node);
    let mut starts = Cluster::agent_starts(node).into_iter().peekable();
    let mut queue = BinaryHeap::new();
    for (which, life) in lives.iter().enumerate() {
        let before = MINUTE * 30 + (MINUTE * 15).mul_f64(draw(&[30, life.number]));
        let first = life.start.map_or(before, |start| start + Duration::from_secs(1));
        queue.push(Reverse((first, which)));
    }
    while let Some(Reverse((at, which))) = queue.pop() {
        if at >= BEFORE + DAY {
            break;
        }
        while starts.next_if(|start| *start <= at).is_some() {
            restarted();
        }
        if lives[which].is_at(at) {
            let lasts = asks(at, &lives[which]);
            let again = at + lasts.saturating_sub(SDK_ASKS).max(Duration::from_secs(1));
            queue.push(Reverse((again, which)));
        }
    }
}

fn kube2iam(cluster: &Cluster) -> Calls {
    const KEPT: Duration = Duration::from_mins(15);
    const SESSION: Duration = Duration::from_mins(30);
    let calls = Calls::new(1.0);
    for node in 0..cluster.nodes {
        let cache = std::cell::RefCell::new(HashMap::<u32, Duration>::new());
        of_node(
            cluster,
            node,
            || cache.borrow_mut().clear(),
            |at, life| {
                let mut cache = cache.borrow_mut();
                let got = cache.get(&life.workload).copied().filter(|got| at < *got + KEPT);
                let got = got.unwrap_or_else(|| {
                    calls.count(second(at));
                    at
                });
                cache.insert(life.workload, got);
                (got + SESSION).saturating_sub(at)
            },
        );
    }
    calls
}

/// A pod's session is refreshed where it is kept, whether or not it is asked for.
fn pod_identity(cluster: &Cluster) -> Calls {
    const KEPT: Duration = Duration::from_hours(3);
    const SESSION: Duration = Duration::from_hours(6);
    let calls = Calls::new(1.0);
    for node in 0..cluster.nodes {
        let starts = Cluster::agent_starts(node);
        for life in cluster.lives(node) {
            let end = life.end.unwrap_or(BEFORE + DAY).min(BEFORE + DAY);
            let before = KEPT.mul_f64(draw(&[41, life.number]));
            let begin = life.start.unwrap_or(before) + Duration::from_secs(1);
            // The pod asks; then its agent refreshes, until the agent is another, which is asked by
            // the pod when that one's credentials run out.
            let mut at = begin;
            while at < end {
                calls.count(second(at));
                let restart = starts.iter().find(|start| **start > at && **start < at + KEPT);
                at += if restart.is_some() { SESSION.saturating_sub(SDK_ASKS) } else { KEPT };
            }
        }
    }
    calls
}

/// Servers ask for every role of the cluster as long as a pod has it, and after a restart for all at once.
fn kiam(cluster: &Cluster) -> Calls {
    const SERVERS: u64 = 3;
    const KEPT: Duration = Duration::from_mins(10);
    /// Of 8 fetchers, with 80 ms for each call.
    const RATE: f64 = 100.0;
    const RESTART: Duration = Duration::from_hours(15);
    let roles: BTreeSet<u32> =
        (0..cluster.nodes).flat_map(|node| cluster.lives(node)).map(|life| life.workload).collect();
    let calls = Calls::new(1.0);
    let restart = BEFORE + RESTART + MINUTE;
    for server in 0..SERVERS {
        for (role, place) in roles.iter().zip(0_u32..) {
            let mut at = KEPT.mul_f64(draw(&[40, server, u64::from(*role)]));
            while at < restart {
                calls.count(second(at));
                at += KEPT;
            }
            at = restart + Duration::from_secs_f64(f64::from(place) / RATE);
            while at < BEFORE + DAY {
                calls.count(second(at));
                at += KEPT;
            }
        }
    }
    calls
}
