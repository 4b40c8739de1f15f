//! What connections and bulk transfers pay that have nothing to do with podrole: three nodes side by side, one
//! with podrole's programs, one with empty programs on the same hooks, one with none, in turn by small batches.
//! Which node has which changes, so that what a node is by chance is not taken for a program's cost.

use std::os::fd::OwnedFd;

use anyhow::Result;

use super::figure::{Figure, Size, Target, median};
use super::hooks::{ELSEWHERE, UPLINK};
use super::stage::{on_cluster, processors, turn};
use super::worker::{Job, Worker};
use crate::bpf::{self, Does, Hook};
use crate::cluster::Cluster;
use crate::pod::Pod;
use crate::process::Process;

/// Where podrole has programs on the pods' cgroup.
const HOOKS: [Hook; 9] = [
    Hook::CONNECT4,
    Hook::CONNECT6,
    Hook::EGRESS,
    Hook::SENDMSG4,
    Hook::SENDMSG6,
    Hook::BIND4,
    Hook::BIND6,
    Hook::GETPEERNAME4,
    Hook::GETPEERNAME6,
];

pub(super) fn measure(size: Size) -> Result<Vec<Figure>> {
    let mut figures = on_cluster(|first| {
        on_cluster(|second| on_cluster(|third| compare([first, second, third], size)))
    })?;
    figures.push(on_cluster(|cluster| elsewhere(cluster, size))?);
    Ok(figures)
}

/// What a node's programs are.
const WITHOUT: usize = 0;
const EMPTY: usize = 1;
const PODROLE: usize = 2;

fn compare(clusters: [&Cluster; 3], size: Size) -> Result<Vec<Figure>> {
    let rounds = size.of(2, 30, 400);
    let mut nodes = Vec::new();
    for cluster in clusters {
        nodes.push(Node::new(cluster, size)?);
    }
    let mut noticed: [Noticed; 3] = Default::default();
    for shift in 0..nodes.len() {
        let of = |side: usize| (side + shift) % clusters.len();
        let empty = empty_programs(clusters[of(EMPTY)])?;
        clusters[of(PODROLE)].attach()?;
        for round in 0..rounds {
            for side in turn(noticed.len(), round) {
                nodes[of(side)].notice(&mut noticed[side])?;
            }
        }
        clusters[of(PODROLE)].detach()?;
        drop(empty);
    }
    let figure = |name: &str, what: &str, of: fn(&Noticed) -> &[f64]| {
        let ratio = |name: &str, sides: &str, [own, other]: [usize; 2]| {
            let what = format!("{what}, with {sides}");
            Figure::ratio(name, &what, of(&noticed[own]), of(&noticed[other]))
        };
        let empty = "empty programs on its hooks";
        [
            ratio(name, "podrole to without", [PODROLE, WITHOUT]).target(Target::AtMost(1.01)),
            ratio(&format!("{name}-empty"), &format!("{empty} to without"), [EMPTY, WITHOUT]),
            ratio(&format!("{name}-own"), &format!("podrole to {empty}"), [PODROLE, EMPTY]),
        ]
    };
    let figures = [
        figure("pod-connect", "a pod's connection to elsewhere (connect and close)", |noticed| {
            &noticed.pod
        }),
        figure("node-connect", "a node process's connection to elsewhere", |noticed| &noticed.node),
        figure(
            "pod-bulk",
            "a pod's bulk transfer to elsewhere (time for the same bytes)",
            |noticed| &noticed.bulk,
        ),
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// On every hook that podrole has programs on; for as long as their links are held.
fn empty_programs(cluster: &Cluster) -> Result<Vec<OwnedFd>> {
    let pods = cluster.pod_cgroup();
    let links = HOOKS.iter().map(|hook| bpf::attach_to_cgroup(&pods, *hook, Does::Return(1), 0));
    let mut links = links.collect::<Result<Vec<_>>>()?;
    links.push(bpf::attach_to_interface(&cluster.node_place(), UPLINK, Does::Return(-1), 0)?);
    Ok(links)
}

/// The kernel asks a hook's programs nowhere while no cgroup has any (`cgroup_bpf_enabled`): what it costs
/// all processes that some cgroup has one.
fn elsewhere(cluster: &Cluster, size: Size) -> Result<Figure> {
    let (rounds, batch) = (size.of(2, 60, 400), size.of(5, 50, 100));
    let _sink = cluster.sink(&cluster.outside_place(), &ELSEWHERE)?;
    let mut node = Worker::start(&cluster.node_place(), processors().client)?;
    let connect = Job::Connect(ELSEWHERE[0].parse()?);
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for side in turn(took.len(), round) {
            let pods = cluster.pod_cgroup();
            let hooks = HOOKS.iter().take(if side == WITHOUT { 0 } else { HOOKS.len() });
            let links = hooks.map(|hook| bpf::attach_to_cgroup(&pods, *hook, Does::Return(1), 0));
            let _links = links.collect::<Result<Vec<_>>>()?;
            // The first connections after a change find caches cold.
            node.run(&connect, batch)?;
            took[side].push(median(&node.run(&connect, batch)?));
        }
    }
    let [without, with] = &took;
    let what = "a node process's connection to elsewhere, when the cgroup of pods has any such programs, to when \
        no cgroup of the machine has";
    Ok(Figure::ratio("node-connect-enabled", what, with, without))
}

/// Nanoseconds, the median of each batch.
#[derive(Default)]
struct Noticed {
    pod: Vec<f64>,
    node: Vec<f64>,
    bulk: Vec<f64>,
}

struct Node<'c> {
    pod: Worker,
    own: Worker,
    connects: usize,
    bytes: u64,
    _pod: Pod<'c>,
    _sink: Process,
}

impl<'c> Node<'c> {
    fn new(cluster: &'c Cluster, size: Size) -> Result<Self> {
        let sink = cluster.sink(&cluster.outside_place(), &ELSEWHERE)?;
        let pod = cluster.pod("web").role("web").start()?;
        Ok(Self {
            pod: Worker::start(&pod, processors().client)?,
            own: Worker::start(&cluster.node_place(), processors().client)?,
            connects: size.of(5, 25, 50),
            bytes: size.of(1 << 20, 8 << 20, 16 << 20),
            _pod: pod,
            _sink: sink,
        })
    }

    fn notice(&mut self, noticed: &mut Noticed) -> Result<()> {
        let connect = Job::Connect(ELSEWHERE[0].parse()?);
        noticed.pod.push(median(&self.pod.run(&connect, self.connects)?));
        noticed.node.push(median(&self.own.run(&connect, self.connects)?));
        let transfer = Job::Transfer(ELSEWHERE[0].parse()?, self.bytes);
        noticed.bulk.push(median(&self.pod.run(&transfer, 3)?));
        Ok(())
    }
}
