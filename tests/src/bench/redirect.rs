//! What the redirect adds to a fresh connection: one server, reached directly, through podrole's programs,
//! and through a DNAT rule with connection tracking, as kube2iam does it.

use anyhow::{Context as _, Result};

use super::bare;
use super::figure::{Figure, Line, Measured, Size, Target, Unit, median, quantile};
use super::stage::{self, BARE, PROXY, on_cluster, outside_of_pods, processors, turn};
use super::worker::{Job, Worker};
use crate::cluster::Cluster;
use crate::http::{LIST, METADATA};
use crate::pod::{self, Pod};

/// kube2iam's rule (its README, "iptables"), in nftables' words.
const DNAT: &str = "table ip nat { chain prerouting { type nat hook prerouting priority -100; \
    ip daddr 169.254.169.254 tcp dport 80 dnat to 10.0.0.10:18080; }\n}\n";

/// A way to the server.
struct Way {
    name: &'static str,
    what: &'static str,
    job: Job,
    /// Who goes it, in turn: no pod may be redirected more than 200 times a second.
    workers: Vec<Worker>,
    /// The median of each batch, in nanoseconds.
    took: Vec<f64>,
}

pub(super) fn measure(size: Size) -> Result<Measured> {
    on_cluster(|ours| on_cluster(|theirs| compare(ours, theirs, size)))
}

fn compare(ours: &Cluster, theirs: &Cluster, size: Size) -> Result<Measured> {
    let (rounds, batch) = (size.of(4, 160, 600), size.of(5, 20, 25));
    let (node, other_node) = (ours.node_place(), theirs.node_place());
    let at = [(&node, PROXY), (&node, BARE), (&other_node, BARE)];
    let _server = ours.bare(&at, &bare::stand_in())?;
    ours.attach()?;
    stage::run(&other_node, "nft", &["-f", "-"], DNAT)?;
    let pods = start(ours, size.of(2, 8, 24))?;
    let other_pods = start(theirs, 2)?;
    let mut ways = ways(ours, &pods, &other_pods)?;
    for round in 0..rounds {
        for way in turn(ways.len(), round) {
            let Way { job, workers, took, .. } = &mut ways[way];
            let lot = workers.len();
            took.push(median(&workers[round % lot].run(job, batch)?));
        }
    }
    Ok(conclude(&ways))
}

fn start(cluster: &Cluster, count: usize) -> Result<Vec<Pod<'_>>> {
    let names = (0..count).map(|number| format!("pod-{number}"));
    pod::start_all(names.map(|name| cluster.pod(&name).role(&name)).collect())
}

fn ways(ours: &Cluster, pods: &[Pod<'_>], other_pods: &[Pod<'_>]) -> Result<Vec<Way>> {
    let client = processors().client;
    let inside = |pods: &[Pod<'_>]| {
        pods.iter().map(|pod| Worker::start(pod, client)).collect::<Result<Vec<_>>>()
    };
    let outside = pods.iter().map(|pod| Worker::start(&outside_of_pods(ours, pod), client));
    let get = |address: &str| Ok::<_, anyhow::Error>(Job::Get(address.parse()?, LIST.to_owned()));
    let way = |name, what, job, workers| Way { name, what, job, workers, took: Vec::new() };
    Ok(vec![
        way("direct", "directly", get(BARE)?, outside.collect::<Result<_>>()?),
        way("hooked", "directly, by a pod with podrole's hooks", get(BARE)?, inside(pods)?),
        way("podrole", "redirected by podrole", get(METADATA)?, inside(pods)?),
        way("conntrack", "directly, with connection tracking", get(BARE)?, inside(other_pods)?),
        way("dnat", "by DNAT and connection tracking", get(METADATA)?, inside(other_pods)?),
    ])
}

fn conclude(ways: &[Way]) -> Measured {
    let took = |name: &str| {
        let way = ways.iter().find(|way| way.name == name);
        way.map(|way| way.took.as_slice()).unwrap_or_default()
    };
    let mut figures = Vec::new();
    for Way { name, what, took: own, .. } in ways.iter().filter(|way| way.name != "direct") {
        let what = format!("a fresh connection with a request, {what}, to directly");
        let figure = Figure::ratio(name, &what, own, took("direct"));
        let is_ours = *name == "podrole";
        figures.push(if is_ours { figure.target(Target::AtMost(1.03)) } else { figure });
    }
    let what = "the same, redirected by podrole, to by DNAT and connection tracking";
    let ahead = Figure::ratio("podrole-to-dnat", what, took("podrole"), took("dnat"));
    figures.push(ahead.target(Target::AtMost(1.0)));
    let absolute = ways.iter().map(|way| {
        let micros: Vec<f64> = way.took.iter().map(|took| took / 1e3).collect();
        let what = format!("a fresh connection with a request, {}", way.what);
        Figure::new(&format!("{}-time", way.name), &what, Unit::Microseconds, &micros)
    });
    figures.extend(absolute);
    Measured { figures, lines: ways.iter().map(distribution).collect() }
}

/// Below which time so many batches were, from the hundredth part on.
fn distribution(way: &Way) -> Line {
    let point = |percent: u32| {
        let part = f64::from(percent) / 100.0;
        (quantile(&way.took, part) / 1e3, f64::from(percent))
    };
    Line { name: way.what.to_owned(), points: (1..=99).map(point).collect() }
}

/// What workers of pods do, in turn with another beside them: nanoseconds of both, by batches.
pub(super) fn alone(
    inside: &mut [(Worker, Job)],
    beside: &mut (Worker, Job),
    size: Size,
) -> Result<[Vec<f64>; 2]> {
    let (rounds, batch, lot) = (size.of(4, 100, 300), 20, inside.len());
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for side in turn(2, round) {
            let one = if side == 0 { inside.get_mut(round % lot) } else { Some(&mut *beside) };
            let (worker, job) = one.context("no worker")?;
            took[side].push(median(&worker.run(job, batch)?));
        }
    }
    Ok(took)
}
