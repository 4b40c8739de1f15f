//! What other programs of the node pay for the hooks: each program's own time, beside an empty one's, and what
//! connections and transfers take by [others].

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};

use super::figure::{Figure, Measured, Size, Target, Unit, wide};
use super::others;
use super::stage::{on_cluster, processors};
use super::worker::{Job, Worker};
use crate::bpf::stats::{self, Program, Runs};
use crate::bpf::{self, Does, Hook};
use crate::cluster::Cluster;
use crate::http::METADATA;

/// Elsewhere, where a [`Cluster::sink`] listens.
pub(super) const ELSEWHERE: [&str; 2] = ["10.0.0.1:9000", "[fd00:a::1]:9000"];
/// Where datagrams go.
const CLOCK: [&str; 2] = ["10.0.0.1:53", "[fd00:a::1]:53"];
/// The way out of the node.
pub(super) const UPLINK: &str = "up0";

/// What an unmatched program may take, in nanoseconds.
const MOST: f64 = 40.0;

pub(super) fn measure(size: Size) -> Result<Measured> {
    let mut figures = on_cluster(|cluster| programs(cluster, size))?;
    figures.extend(others::measure(size)?);
    Ok(Measured { figures, lines: Vec::new() })
}

/// A program, and what makes it run without anything of podrole's being meant.
struct Case {
    name: &'static str,
    hook: Hook,
    job: Job,
}

fn cases() -> Result<Vec<Case>> {
    let [v4, v6] = ELSEWHERE;
    let [clock4, clock6] = CLOCK;
    let (connect4, connect6) = (Job::Connect(v4.parse()?), Job::Connect(v6.parse()?));
    let case = |name, hook, job| Case { name, hook, job };
    Ok(vec![
        case("connect4", Hook::CONNECT4, connect4.clone()),
        case("connect6", Hook::CONNECT6, connect6),
        case("egress", Hook::EGRESS, connect4),
        case("sendmsg4", Hook::SENDMSG4, Job::Send(clock4.parse()?)),
        case("sendmsg6", Hook::SENDMSG6, Job::Send(clock6.parse()?)),
        case("bind4", Hook::BIND4, Job::Bind("0.0.0.0".parse()?)),
        case("bind6", Hook::BIND6, Job::Bind("::".parse()?)),
        case("getpeername4", Hook::GETPEERNAME4, Job::Peer(v4.parse()?)),
        case("getpeername6", Hook::GETPEERNAME6, Job::Peer(v6.parse()?)),
    ])
}

/// A program of podrole's and the empty one beside it on the same hook.
struct Pair {
    own: Program,
    empty: Program,
    _empty_link: OwnedFd,
}

impl Pair {
    fn on_cgroup(cluster: &Cluster, name: &str, hook: Hook) -> Result<Self> {
        let link = bpf::attach_to_cgroup(&cluster.pod_cgroup(), hook, Does::Return(1), 0)?;
        Self::new(cluster, name, link)
    }

    fn on_uplink(cluster: &Cluster) -> Result<Self> {
        let place = cluster.node_place();
        let link = bpf::attach_to_interface(&place, UPLINK, Does::Return(-1), 0)?;
        let pins = cluster.bpf_fs.pins()?;
        let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
        let name = names.into_iter().find(|name| name.starts_with("forward-"));
        Self::new(cluster, name.context("the forward guard is not pinned")?, link)
    }

    fn new(cluster: &Cluster, name: &str, link: OwnedFd) -> Result<Self> {
        let own = Program::of_pin(&cluster.bpf_fs.pin(name)?)?;
        Ok(Self { own, empty: Program::of_link(&link)?, _empty_link: link })
    }

    fn runs(&self) -> Result<[Runs; 2]> {
        Ok([self.own.runs()?, self.empty.runs()?])
    }

    /// Nanoseconds that a run takes more than one of the empty program's, while `work` is done.
    fn net(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let before = self.runs()?;
        work()?;
        let after = self.runs()?;
        let each = |runs: Runs| wide(runs.nanoseconds) / wide(runs.count.max(1));
        let [own, empty] = [0, 1].map(|which| each(after[which].since(before[which])));
        Ok(own - empty)
    }
}

/// Each program's own time.
fn programs(cluster: &Cluster, size: Size) -> Result<Vec<Figure>> {
    let (rounds, times) = (size.of(2, 8, 24), size.of(20, 300, 600));
    let _sink = cluster.sink(&cluster.outside_place(), &ELSEWHERE)?;
    let pod = cluster.pod("web").role("web").start()?;
    cluster.attach()?;
    let mut worker = Worker::start(&pod, processors().client)?;
    let mut node = Worker::start(&cluster.node_place(), processors().client)?;
    let _counting = stats::enable()?;
    let mut figures = Vec::new();
    for Case { name, hook, job } in cases()? {
        let pair = Pair::on_cgroup(cluster, name, hook)?;
        let net = each_round(rounds, || pair.net(|| worker.run(&job, times).map(drop)))?;
        let what = format!("`{name}`, for what is not podrole's, net of the measuring");
        let figure = Figure::new(name, &what, Unit::Nanoseconds, &net);
        figures.push(figure.target(Target::AtMost(MOST)));
    }
    let pair = Pair::on_uplink(cluster)?;
    let connect = Job::Connect(ELSEWHERE[0].parse()?);
    let net = each_round(rounds, || pair.net(|| node.run(&connect, times).map(drop)))?;
    let what = "`forward`, for a packet of the node's own, net of the measuring";
    let figure = Figure::new("forward", what, Unit::Nanoseconds, &net);
    figures.push(figure.target(Target::AtMost(MOST)));
    drop(pair);
    figures.extend(matched(cluster, &mut worker, rounds)?);
    Ok(figures)
}

/// The same, for what is podrole's: a connection to the metadata service.
fn matched(cluster: &Cluster, worker: &mut Worker, rounds: usize) -> Result<Vec<Figure>> {
    // No pod may open more than 400 at once.
    let times = 380 / (2 * (rounds + 1));
    let to_metadata = Job::Try(METADATA.parse()?);
    let mut figures = Vec::new();
    for (name, hook, what) in [
        ("connect4", Hook::CONNECT4, "`connect4`, for a connection that it redirects"),
        ("egress", Hook::EGRESS, "`egress`, for a SYN to the proxy, of which it leaves a record"),
    ] {
        let pair = Pair::on_cgroup(cluster, name, hook)?;
        let net = each_round(rounds, || pair.net(|| worker.run(&to_metadata, times).map(drop)))?;
        figures.push(Figure::new(&format!("{name}-matched"), what, Unit::Nanoseconds, &net));
    }
    Ok(figures)
}

fn each_round(rounds: usize, mut round: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    // The first finds caches cold.
    round()?;
    (0..rounds).map(|_| round()).collect()
}
