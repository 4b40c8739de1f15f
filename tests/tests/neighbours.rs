//! Other tools' programs on the same hooks, above the pods' cgroup, on it and below it, change nothing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;
use podrole_tests::bpf::{self, BEFORE, Does, Hook, PREORDER};
use podrole_tests::cluster::Cluster;
use podrole_tests::http::LIST;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::node;

const OTHER_PORT: &str = "169.254.169.254:8080";
const DATAGRAMS: &str = "169.254.169.254:80";
const HOOKS: [Hook; 3] = [Hook::CONNECT4, Hook::SENDMSG4, Hook::EGRESS];

/// The parent's, the pods', and the container's.
fn cgroups(cluster: &Cluster, pod: &Pod<'_>) -> Vec<PathBuf> {
    let pods = cluster.pod_cgroup();
    let parent = pods.parent().map(Path::to_owned);
    parent.into_iter().chain([pods, pod.cgroup.clone()]).collect()
}

/// The same program on every hook of every cgroup.
fn attach(cgroups: &[PathBuf], does: Does, flags: u32) -> Result<Vec<OwnedFd>> {
    let pairs = cgroups.iter().flat_map(|cgroup| HOOKS.map(|hook| (cgroup, hook)));
    pairs
        // For packets there is no such call.
        .filter(|(_, hook)| !(matches!(does, Does::TakeBackRefusal) && *hook == Hook::EGRESS))
        .map(|(cgroup, hook)| bpf::attach_to_cgroup(cgroup, hook, does, flags))
        .collect()
}

fn reaches(pod: &Pod<'_>) -> Result<[bool; 3]> {
    let role = pod.get(LIST)?.body;
    Ok([
        role == node::ROLE,
        pod.reaches_bystander(OTHER_PORT.parse()?, false)?,
        pod.reaches_bystander(DATAGRAMS.parse()?, true)?,
    ])
}

/// With programs that came before the agent and after it.
fn check(does: Does, flags: &[u32]) -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let cgroups = cgroups(cluster, &pod);
        let attach_all = || -> Result<Vec<OwnedFd>> {
            let links = flags.iter().map(|flags| attach(&cgroups, does, *flags));
            Ok(links.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let _before = attach_all()?;
        assert_eq!(reaches(&pod)?, [true; 3], "without podrole");
        let agent = cluster.agent().start()?;
        let leaks = cluster.leaks()?;
        assert_eq!(reaches(&pod)?, [false; 3], "programs that were there before the agent");
        pod.wait_for_role("web")?;
        let _after = attach_all()?;
        assert_eq!(reaches(&pod)?, [false; 3], "programs that came after it");
        pod.wait_for_role("web")?;
        agent.kill()?;
        assert!(pod.is_refused(podrole_tests::http::METADATA)?);
        assert_eq!(leaks.seen(&pod)?, []);
        Ok(())
    })
}

#[test]
fn programs_that_allow_everything_change_nothing() -> Result<()> {
    check(Does::Return(1), &[0])
}

#[test]
fn programs_that_come_first_change_nothing() -> Result<()> {
    check(Does::Return(1), &[BEFORE, PREORDER])
}

#[test]
fn a_program_that_takes_refusals_back_opens_no_way_and_is_told_of() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert_eq!(reaches(&pod)?, [true; 3], "without podrole");
        let agent = cluster.agent().start()?;
        let leaks = cluster.leaks()?;
        let _links = attach(&cgroups(cluster, &pod), Does::TakeBackRefusal, 0)?;
        assert_eq!(reaches(&pod)?, [false; 3], "while an agent runs");
        pod.wait_for_role("web")?;
        agent.kill()?;
        let mut agent = cluster.agent().spawn()?;
        agent.wait_for_log("another program on the hooks")?;
        assert_eq!(reaches(&pod)?, [false; 3], "an agent that is not ready for it");
        assert_eq!(leaks.seen(&pod)?, []);
        Ok(())
    })
}
