//! An agent that ends, is replaced, or crashes opens no gap: a pod is served or refused, and never
//! reaches the real metadata service.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use podrole_tests::bpf;
use podrole_tests::cluster::Cluster;
use podrole_tests::hammer::{Hammer, Tally};
use podrole_tests::leaks::Leaks;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node;

const RESTARTS: usize = 20;
const CRASHES: usize = 100;
/// How long an agent may take to finish what it has begun.
const GRACE: Duration = Duration::from_secs(15);

/// Pods that ask all the time, by two connections each.
struct Load<'c> {
    pods: Vec<Pod<'c>>,
    hammers: Vec<Hammer>,
    leaks: Leaks,
    cluster: &'c Cluster,
    before: usize,
}

impl<'c> Load<'c> {
    /// All pods reach the real service when this begins.
    fn new(cluster: &'c Cluster, pods: Vec<Pod<'c>>) -> Result<Self> {
        let hammers = pods.iter().map(|pod| cluster.hammer(pod, 2)).collect::<Result<_>>()?;
        let (leaks, before) = (cluster.leaks()?, cluster.metadata.requests_of_pods()?);
        Ok(Self { pods, hammers, leaks, cluster, before })
    }

    fn end(self) -> Result<()> {
        for (pod, hammer) in self.pods.iter().zip(self.hammers) {
            let tally: Tally = hammer.finish()?;
            println!("{}: {tally:?}", pod.name);
            ensure!(tally.served(&pod.name) > 0, "{} was never served: {tally:?}", pod.name);
            ensure!(tally.refused() > 0, "{} was never refused: {tally:?}", pod.name);
            ensure!(!tally.has_the_nodes(), "{} reached the node's: {tally:?}", pod.name);
        }
        if let Some(pod) = self.pods.first() {
            ensure!(self.leaks.seen(pod)?.is_empty(), "packets of pods arrived");
        }
        ensure!(self.cluster.metadata.requests_of_pods()? == self.before, "pods were answered");
        Ok(())
    }
}

fn pods<'c>(cluster: &'c Cluster, names: &[&str]) -> Result<Vec<Pod<'c>>> {
    let pods = names.iter().map(|name| cluster.pod(name).role(name).start());
    let pods = pods.collect::<Result<Vec<_>>>()?;
    for pod in &pods {
        ensure!(pod.node_credentials()?.is_some(), "without podrole");
    }
    Ok(pods)
}

/// The number of each link that is pinned.
fn links(cluster: &Cluster) -> Result<Vec<(PathBuf, u64)>> {
    let pins = cluster.bpf_fs.pins()?.into_iter();
    let mut links: Vec<_> =
        pins.filter_map(|pin| Some((pin.clone(), bpf::link_id(&pin).ok()?))).collect();
    links.sort();
    Ok(links)
}

#[test]
fn a_restarted_agent_takes_up_the_links_and_no_moment_is_open() -> Result<()> {
    Cluster::with(|cluster| {
        let pods = pods(cluster, &["web", "api"])?;
        let mut agent = cluster.agent().start()?;
        let before = links(cluster)?;
        assert_eq!(before.len(), 10, "{before:?}");
        let load = Load::new(cluster, pods)?;
        for _ in 0..RESTARTS {
            agent.terminate()?;
            assert!(agent.wait(GRACE)?.success());
            agent = cluster.agent().start()?;
            assert_eq!(links(cluster)?, before);
        }
        load.end()
    })
}

#[test]
fn a_hundred_crashes_under_load_open_no_way() -> Result<()> {
    /// How far an agent gets before it is killed; nothing is waited for in every fourth round.
    const REACHED: [&str; 3] = ["starting", "attached to the pods' cgroup", "pods are known"];
    Cluster::with(|cluster| {
        let pods = pods(cluster, &["web", "api", "job"])?;
        cluster.agent().start()?.kill()?;
        let before = links(cluster)?;
        let load = Load::new(cluster, pods)?;
        for round in 0..CRASHES {
            let mut agent = cluster.agent().spawn()?;
            if let Some(reached) = REACHED.get(round % 4) {
                agent.wait_for_log(reached)?;
            }
            agent.kill()?;
        }
        let _agent = cluster.agent().start()?;
        for pod in &load.pods {
            pod.wait_for_role(&pod.name)?;
        }
        assert_eq!(links(cluster)?, before);
        load.end()
    })
}

#[test]
fn kubelets_own_helpers_keep_the_real_service_in_every_state() -> Result<()> {
    Cluster::with(|cluster| {
        // As kind lays it out: the pods' cgroup is beside kubelet's own.
        let slice = cluster.pod_cgroup().with_file_name("kubelet.slice");
        let (pods, kubelet) = (slice.join("kubelet-kubepods.slice"), slice.join("kubelet.service"));
        std::fs::create_dir_all(&pods)?;
        std::fs::create_dir_all(&kubelet)?;
        let helper = podrole_tests::place::Place { cgroup: kubelet, ..cluster.node_place() };
        let check = |when: &str| -> Result<()> {
            assert_eq!(helper.listed_role()?.as_deref(), Some(node::ROLE), "{when}");
            Ok(())
        };
        check("without podrole")?;
        let pods = pods.display().to_string();
        let agent = cluster.agent().set("--pod-cgroup", &pods).start()?;
        check("with podrole")?;
        agent.kill()?;
        check("with its agent dead")
    })
}
