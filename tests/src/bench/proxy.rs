//! The proxy beside the limit: the same answers to the same pods from a bare server of the same library, on
//! the same processor, in turn.

use anyhow::{Context as _, Result};

use super::figure::{Figure, Line, Measured, Size, Target, Unit, wide};
use super::histogram::Histogram;
use super::redirect;
use super::stage::{BARE, on_cluster, outside_of_pods, processors, turn};
use super::usage::processor_seconds;
use super::worker::{Job, Worker};
use super::wrk::Load;
use crate::agent::Agent;
use crate::cluster::Cluster;
use crate::http::{LIST, METADATA, Request};
use crate::place::Place;
use crate::pod::{self, Pod};
use crate::process::Process;

/// As many as EKS puts on a node.
const FULL_NODE: usize = 110;
/// Connections of a single pod, within what one pod may have.
const CONNECTIONS: usize = 32;

pub(super) fn measure(size: Size) -> Result<Measured> {
    on_cluster(|cluster| {
        let scene = Scene::new(cluster, size.of(3, FULL_NODE, FULL_NODE))?;
        let mut measured = Measured::default();
        for case in cases(size) {
            scene.compare(&case, size, &mut measured)?;
        }
        scene.alone(size, &mut measured)?;
        Ok(measured)
    })
}

/// The proxy and the bare server, ready to be asked.
pub(super) struct Scene<'c> {
    cluster: &'c Cluster,
    pub(super) pods: Vec<Pod<'c>>,
    pub(super) agent: Agent,
    bare: Process,
}

/// A kind of load.
pub(super) struct Case {
    name: &'static str,
    what: &'static str,
    is_one_pod: bool,
    connections: usize,
    fresh: bool,
    seconds: u64,
    rounds: usize,
}

fn cases(size: Size) -> Vec<Case> {
    let seconds = size.of(1, 1, 2);
    vec![
        Case {
            name: "keep-alive",
            what: "one pod, 32 connections that stay",
            is_one_pod: true,
            connections: CONNECTIONS,
            fresh: false,
            seconds,
            rounds: size.of(1, 3, 10),
        },
        Case {
            name: "full-node",
            what: "110 pods at once, a connection each that stays",
            is_one_pod: false,
            connections: 1,
            fresh: false,
            seconds,
            rounds: size.of(1, 3, 8),
        },
        Case {
            name: "fresh",
            what: "110 pods at once, a connection for each request",
            is_one_pod: false,
            connections: 1,
            fresh: true,
            seconds,
            rounds: size.of(1, 3, 8),
        },
    ]
}

/// What one side did in each round.
#[derive(Default)]
struct Side {
    per_second: Vec<f64>,
    latencies: [Vec<f64>; 3],
    /// Processor seconds of a million requests.
    seconds: Vec<f64>,
    all: Histogram,
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

impl<'c> Scene<'c> {
    pub(super) fn new(cluster: &'c Cluster, pods: usize) -> Result<Self> {
        let names = (0..pods).map(|number| format!("pod-{number}"));
        let pods = pod::start_all(names.map(|name| cluster.pod(&name).role(&name)).collect())?;
        let server = processors().server.to_string();
        // Beyond what a pod may ask, which is not what is measured here.
        let agent = cluster.agent().set("--pod-rps", "100000000");
        let agent = agent.under(&["taskset", "--cpu-list", &server]).start()?;
        for pod in &pods {
            pod.wait_for_role(&pod.name)?;
        }
        let first = pods.first().context("no pods")?;
        let path = format!("{LIST}{}", first.name);
        let answer = first.tcp(METADATA, &Request::get(&path).bytes())?.answer();
        let bare = cluster.bare(&[(&cluster.node_place(), BARE)], &kept_open(&answer))?;
        Ok(Self { cluster, pods, agent, bare })
    }

    fn compare(&self, case: &Case, size: Size, measured: &mut Measured) -> Result<()> {
        let mut sides = [Side::default(), Side::default()];
        for round in 0..case.rounds {
            for side in turn(2, round) {
                self.ask(case, side, &mut sides[side])?;
            }
        }
        let [proxy, bare] = &sides;
        measured.figures.extend(figures(case, proxy, bare));
        if size == Size::Full {
            measured.lines.extend([("podrole", proxy), ("bare", bare)].map(|(name, side)| Line {
                name: format!("{} {name}", case.name),
                points: curve(&side.all),
            }));
        }
        Ok(())
    }

    /// Each pod asks for its own role's credentials.
    fn ask(&self, case: &Case, which: usize, side: &mut Side) -> Result<()> {
        let (server, process) =
            if which == 0 { (METADATA, self.agent.id()) } else { (BARE, self.bare.id()) };
        let first = self.pods.get(..1).unwrap_or_default();
        let pods = if case.is_one_pod { first } else { &self.pods };
        let load = Load {
            server,
            connections: case.connections,
            fresh: case.fresh,
            seconds: case.seconds,
        };
        let before = processor_seconds(process)?;
        let outcome = load.run(self.cluster, &asking(pods))?;
        let used = processor_seconds(process)? - before;
        side.per_second.push(outcome.per_second);
        for ((_, part), latencies) in QUANTILES.iter().zip(&mut side.latencies) {
            latencies.push(outcome.latencies.quantile(*part));
        }
        side.seconds.push(used / wide(outcome.requests) * 1e6);
        side.all.merge(&outcome.latencies);
        Ok(())
    }

    /// One client, one request at a time, a connection for each.
    fn alone(&self, size: Size, measured: &mut Measured) -> Result<()> {
        let client = processors().client;
        let few = self.pods.iter().take(size.of(2, 12, 24));
        let job = |server: &str, pod: &Pod<'_>| {
            anyhow::Ok(Job::Get(server.parse()?, format!("{LIST}{}", pod.name)))
        };
        let inside = few.map(|pod| Ok((Worker::start(pod, client)?, job(METADATA, pod)?)));
        let mut inside = inside.collect::<Result<Vec<_>>>()?;
        let first = self.pods.first().context("no pods")?;
        let outside = Worker::start(&outside_of_pods(self.cluster, first), client)?;
        let mut outside = (outside, job(BARE, first)?);
        let [own, bare] = redirect::alone(&mut inside, &mut outside, size)?;
        let what = "one request at a time, a connection for each: its time by podrole (redirect, identity, role) to a bare server without any hook";
        measured.figures.push(Figure::ratio("alone", what, &own, &bare));
        Ok(())
    }

    /// Asks the proxy for so long, with a connection of each pod that stays.
    pub(super) fn load(&self, seconds: u64) -> Result<u64> {
        let load = Load { server: METADATA, connections: 1, fresh: false, seconds };
        Ok(load.run(self.cluster, &asking(&self.pods))?.requests)
    }
}

/// Each pod, and what it asks for.
fn asking<'p>(pods: &'p [Pod<'_>]) -> Vec<(&'p Place, String)> {
    pods.iter().map(|pod| (&**pod, format!("{LIST}{}", pod.name))).collect()
}

/// The answer as it is on a connection that stays.
fn kept_open(answer: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(answer).replacen("Connection: close\r\n", "", 1).into_bytes()
}

fn figures(case: &Case, proxy: &Side, bare: &Side) -> Vec<Figure> {
    let name = |which: &str| format!("{}-{which}", case.name);
    let what = |which: &str| format!("{}: {which}", case.what);
    let throughput = Figure::ratio(
        &name("throughput"),
        &what("requests a second, to the bare server's"),
        &proxy.per_second,
        &bare.per_second,
    );
    let mut figures = vec![throughput.target(Target::AtLeast(0.9))];
    for (at, (quantile, _)) in QUANTILES.iter().enumerate() {
        let own = &proxy.latencies[at];
        let ratio = Figure::ratio(
            &name(quantile),
            &what(&format!("{quantile} of the latency, to the bare server's")),
            own,
            &bare.latencies[at],
        );
        let is_aim = *quantile == "p99" && case.name == "full-node";
        figures.push(if is_aim { ratio.target(Target::AtMost(2.0)) } else { ratio });
        let absolute = what(&format!("{quantile} of the latency"));
        let absolute =
            Figure::new(&name(&format!("{quantile}-time")), &absolute, Unit::Microseconds, own);
        figures.push(absolute);
    }
    figures.push(Figure::new(
        &name("rate"),
        &what("requests a second on one processor"),
        Unit::PerSecond,
        &proxy.per_second,
    ));
    figures.push(Figure::new(
        &name("bare-rate"),
        &what("requests a second of the bare server on one processor"),
        Unit::PerSecond,
        &bare.per_second,
    ));
    figures.push(Figure::new(
        &name("cpu"),
        &what("processor seconds for a million requests"),
        Unit::Seconds,
        &proxy.seconds,
    ));
    figures.push(Figure::new(
        &name("bare-cpu"),
        &what("processor seconds of the bare server for a million requests"),
        Unit::Seconds,
        &bare.seconds,
    ));
    figures
}

/// The latency by the part of requests that stay below it, the rare ones drawn as wide as the others:
/// at 1 stands 90 %, at 2 99 %.
fn curve(latencies: &Histogram) -> Vec<(f64, f64)> {
    (0..=15_i32)
        .map(|step| {
            let nines = f64::from(step) / 5.0;
            (nines, latencies.quantile(1.0 - 10_f64.powf(-nines)))
        })
        .collect()
}
