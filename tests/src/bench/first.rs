//! From a new pod's first instruction to credentials in hand, while hundreds start at once and STS is as
//! slow as it is told to be.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use super::figure::{Figure, Line, Measured, Size, Unit, count, quantile, wide};
use super::stage::{agent_there, on_cluster};
use crate::cluster::Cluster;
use crate::first::{Asking, First};
use crate::pod::{Pod, PodBuilder};
use crate::wait;

/// How many pods are made at a time.
const AT_ONCE: usize = 4;
/// From a pod's being scheduled to its container's first instruction: kubelet is seldom quicker, with an
/// image that is there.
const KUBELET: Duration = Duration::from_secs(1);

/// What is asked of STS, and when.
struct Storm {
    /// How long STS takes.
    delay: Duration,
    prefetch: &'static str,
}

pub(super) fn measure(size: Size) -> Result<Measured> {
    agent_there()?;
    let pods = size.of(4, 40, 500);
    let delays: &[u64] = size.of(&[50], &[150], &[50, 150, 500]);
    let without: &[u64] = size.of(&[50], &[150], &[150]);
    // As many as EKS puts on a node.
    let (node, of_node): (_, &[u64]) = size.of((4, &[]), (40, &[]), (110, &[50, 150, 500]));
    let mut measured = Measured::default();
    let storms = [("mapped", pods, delays), ("off", pods, without), ("mapped", node, of_node)];
    for (prefetch, pods, delays) in storms {
        for &delay in delays {
            let storm = Storm { delay: Duration::from_millis(delay), prefetch };
            let answers = on_cluster(|cluster| storm.run(cluster, pods))?;
            storm.conclude(&answers, &mut measured);
        }
    }
    Ok(measured)
}

impl Storm {
    /// Pods are scheduled and made as fast as this machine does it, and each asks with its first
    /// instruction, when the API server has not been told its address yet.
    fn run(&self, cluster: &Cluster, pods: usize) -> Result<Vec<First>> {
        cluster.sts.delay(self.delay)?;
        let _agent = cluster.agent().set("--prefetch", self.prefetch).start()?;
        let names = (0..pods).map(|number| format!("storm-{number}"));
        let pods = names.map(|name| cluster.pod(&name).role(&name).unreported());
        let pods = Mutex::new(pods.collect::<VecDeque<_>>());
        let next = || pods.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            let threads = [(); AT_ONCE].map(|()| scope.spawn(|| start_and_ask(next)));
            let answers = threads.into_iter().map(|thread| {
                thread.join().map_err(|_| anyhow!("a thread that starts pods panicked"))?
            });
            Ok(answers.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
    }

    fn conclude(&self, answers: &[First], measured: &mut Measured) {
        let served = answers.iter().filter(|first| first.document.is_some());
        let took: Vec<f64> = served.map(|first| wide(first.in_hand_us) / 1e3).collect();
        let (delay, prefetch) = (self.delay.as_millis(), self.prefetch);
        let with = if prefetch == "off" { ", without prefetch" } else { "" };
        let key = format!("{prefetch}-{}-{delay}", answers.len());
        let mut figure = |name: &str, part: f64| {
            let what = format!(
                "{} pods at once, STS takes {delay} ms{with}: first instruction to credentials, {name}",
                answers.len()
            );
            let name = format!("{key}-{name}");
            let value = quantile(&took, part);
            measured.figures.push(Figure::new(&name, &what, Unit::Milliseconds, &[value]));
        };
        figure("p50", 0.5);
        figure("p99", 0.99);
        let failed = answers.iter().filter(|first| first.status != 200).count();
        let what = format!(
            "{} pods at once, STS takes {delay} ms{with}: first requests that were not answered with the role",
            answers.len()
        );
        let failed = [count(failed)];
        let name = format!("{key}-failed");
        measured.figures.push(Figure::new(&name, &what, Unit::Count, &failed));
        let points = (1..=100).map(|percent| {
            let part = f64::from(percent) / 100.0;
            (quantile(&took, part), f64::from(percent))
        });
        let name = format!("{} pods, STS {delay} ms{with}", answers.len());
        measured.lines.push(Line { name, points: points.collect() });
    }
}

/// Makes pods while there are any, and starts the container of each when its time has come.
fn start_and_ask<'c>(next: impl Fn() -> Option<PodBuilder<'c>>) -> Result<Vec<First>> {
    let (mut made, mut asking) = (VecDeque::new(), Vec::new());
    loop {
        let scheduled = Instant::now();
        let Some(builder) = next() else { break };
        made.push_back((scheduled, builder.start()?));
        start_containers(&mut made, &mut asking)?;
    }
    while !made.is_empty() {
        wait::until_true("a container's start", || {
            Ok(made.front().is_none_or(|(scheduled, _)| scheduled.elapsed() >= KUBELET))
        })?;
        start_containers(&mut made, &mut asking)?;
    }
    // A pod stays until it has asked.
    asking.into_iter().map(|(_pod, asks)| asks.finish()).collect()
}

fn start_containers<'c>(
    made: &mut VecDeque<(Instant, Pod<'c>)>,
    asking: &mut Vec<(Pod<'c>, Asking)>,
) -> Result<()> {
    while made.front().is_some_and(|(scheduled, _)| scheduled.elapsed() >= KUBELET) {
        let Some((_, pod)) = made.pop_front() else { break };
        let asks = pod.ask_first()?;
        asking.push((pod, asks));
    }
    Ok(())
}
