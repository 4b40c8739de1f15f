//! `podrole attach`: pods are guarded from before kubelet makes their cgroup until an agent comes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use podrole_tests::bpf;
use podrole_tests::bpffs::PINS;
use podrole_tests::cgroup;
use podrole_tests::cluster::{Cluster, NODE_ADDRESSES};
use podrole_tests::http::METADATA;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::process::{self, Process};
use podrole_tests::wait::PATIENCE;
use podrole_tests::{agent, pretend};
use tokio::time::Instant;

/// What it says while the pods' cgroup is not there.
const ALONE: &str = "the forward guard stands alone";
/// Another way to the metadata service than port 80 by TCP, which nobody redirects.
const DATAGRAMS: &str = "169.254.169.254:80";
const GRACE: Duration = Duration::from_secs(10);

fn attach(cluster: &Cluster, flags: &[&str]) -> Result<Command> {
    let mut command = cluster.node_place().command(agent::binary()?)?;
    command.arg("attach").args(flags);
    command.arg("--pod-cgroup").arg(cluster.pod_cgroup());
    command.arg("--bpf-fs").arg(cluster.bpf_fs.path());
    for address in NODE_ADDRESSES {
        command.args(["--listen", address]);
    }
    Ok(command)
}

fn waiting(cluster: &Cluster) -> Result<Process> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let log = cluster.directory().join(format!("attach-{number}.log"));
    let mut process = Process::spawn("attach", &mut attach(cluster, &["--wait"])?, &log)?;
    process.wait_for_lines(ALONE, 1)?;
    Ok(process)
}

fn ends_well(process: &mut Process) -> Result<()> {
    let status = process.wait(GRACE)?;
    ensure!(status.success(), "{status}: {}", process.output()?);
    Ok(())
}

/// A process in the pod's network whose socket no program of a cgroup sees: the node forwards for it.
fn stranger(cluster: &Cluster, pod: &Pod<'_>) -> Place {
    Place { cgroup: cluster.node_place().cgroup, ..Place::clone(pod) }
}

fn reaches_real(place: &Place) -> Result<bool> {
    place.reaches_bystander(DATAGRAMS.parse()?, true)
}

fn id(cgroup: &Path) -> Result<u64> {
    Ok(fs::metadata(cgroup)?.ino())
}

/// All links of the pods' cgroup are on the one that is there now.
fn is_on_pods(cluster: &Cluster) -> Result<()> {
    let now = id(&cluster.pod_cgroup())?;
    for name in ["egress", "sendmsg4", "bind4", "connect4", "connect6"] {
        let on = bpf::cgroup_of_link(&cluster.bpf_fs.pin(name)?)?;
        ensure!(on == now, "{name} is on the cgroup {on}, not {now}");
    }
    Ok(())
}

#[test]
fn before_kubelet_has_made_a_cgroup_the_node_forwards_nothing() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        let stranger = stranger(cluster, &pod);
        cgroup::remove(&cluster.pod_cgroup())?;
        assert!(reaches_real(&stranger)?, "without podrole");

        let finished = process::run(&mut attach(cluster, &[])?, b"", PATIENCE)?;
        assert!(finished.status.success(), "{finished:?}");
        assert!(finished.stderr.contains(ALONE), "{finished:?}");
        assert!(cluster.bpf_fs.pin("connect4").is_err(), "there is nothing to attach it to");
        let leaks = cluster.leaks()?;
        assert!(!reaches_real(&stranger)?, "with the forward guard");
        assert_eq!(leaks.seen(&stranger)?, []);
        assert!(reaches_real(&cluster.node_place())?, "the node itself");
        Ok(())
    })
}

#[test]
fn a_cgroup_that_comes_and_goes_is_waited_for() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let pods = cluster.pod_cgroup();
        cgroup::remove(&pods)?;
        let mut attach = waiting(cluster)?;
        let leaks = cluster.leaks()?;
        for _ in 0..20 {
            fs::create_dir(&pods)?;
            fs::remove_dir(&pods)?;
        }
        fs::create_dir_all(&pod.cgroup)?;
        ends_well(&mut attach)?;
        is_on_pods(cluster)?;
        assert!(pod.is_refused(METADATA)?, "nobody listens yet");
        assert!(!reaches_real(&pod)?);

        let _agent = cluster.agent().start()?;
        pod.wait_for_role("web")?;
        assert_eq!(leaks.seen(&pod)?, []);
        Ok(())
    })
}

#[test]
fn a_cgroup_that_is_made_anew_while_it_is_attached_to_is_attached_to_again() -> Result<()> {
    /// What it says when it has noticed. Where it was quicker than the test there is nothing to notice.
    const NOTICED: &str = "removed while the programs were being attached";
    const ROUNDS: u32 = 50;
    Cluster::with(|cluster| {
        let pods = cluster.pod_cgroup();
        let first = cluster.bpf_fs.path().join(PINS).join("egress");
        for _ in 0..ROUNDS {
            cgroup::remove(&pods)?;
            let mut attach = waiting(cluster)?;
            fs::create_dir(&pods)?;
            let deadline = Instant::now() + PATIENCE;
            // A look every few milliseconds would come too late.
            while !first.exists() && Instant::now() < deadline {
                std::hint::spin_loop();
            }
            fs::remove_dir(&pods)?;
            fs::create_dir(&pods)?;
            ends_well(&mut attach)?;
            if attach.output()?.contains(NOTICED) {
                return is_on_pods(cluster);
            }
            cluster.detach()?;
        }
        anyhow::bail!("the cgroup was never removed in time, in {ROUNDS} rounds")
    })
}

#[test]
fn an_interface_that_comes_while_it_waits_is_guarded() -> Result<()> {
    Cluster::with(|cluster| {
        cgroup::remove(&cluster.pod_cgroup())?;
        let mut attach = waiting(cluster)?;
        let mut ip = cluster.node_place().command("ip")?;
        ip.args(["link", "add", "eni1", "link", "up0", "type", "macvlan", "mode", "bridge"]);
        process::run(&mut ip, b"", PATIENCE)?.ok()?;
        attach.wait_for_lines("eni1", 1)?;
        Ok(())
    })
}

#[test]
fn a_signal_ends_the_wait_and_leaves_the_guard() -> Result<()> {
    Cluster::with(|cluster| {
        cgroup::remove(&cluster.pod_cgroup())?;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut attach = waiting(cluster)?;
            attach.signal(signal)?;
            ends_well(&mut attach)?;
            let pins = cluster.bpf_fs.pins()?;
            let stands = pins.iter().any(|pin| pin.to_string_lossy().contains("/forward-"));
            assert!(stands, "{pins:?}");
        }
        Ok(())
    })
}

#[test]
fn beside_an_agent_nothing_changes_for_pods_and_the_agent() -> Result<()> {
    Cluster::with(|cluster| {
        let pod = cluster.pod("web").role("web").start()?;
        assert!(pod.node_credentials()?.is_some());
        let home = cluster.pod("podrole-abcde").namespace("podrole").host_network().start()?;
        let agent = cluster.agent().in_pod(&home).start()?;
        process::run(&mut attach(cluster, &[])?, b"", PATIENCE)?.ok()?;
        pod.wait_for_role("web")?;
        assert_eq!(home.get(podrole_tests::http::LIST)?.body, pretend::node::ROLE);
        agent.kill()?;
        assert!(pod.is_refused(METADATA)?);
        Ok(())
    })
}

#[test]
fn mistakes_are_told_all_at_once() -> Result<()> {
    Cluster::with(|cluster| {
        let wrong =
            ["--listen", "nowhere", "--metadata-address", "x", "--allow-missing-guards", "y"];
        let finished = process::run(&mut attach(cluster, &wrong)?, b"", PATIENCE)?;
        assert_eq!(finished.status.code(), Some(2), "{finished:?}");
        for flag in ["--listen", "--metadata-address", "--allow-missing-guards"] {
            assert!(finished.stderr.contains(flag), "{flag} is missing in {finished:?}");
        }
        assert!(cluster.bpf_fs.pins()?.is_empty());
        Ok(())
    })
}

#[test]
fn what_can_never_be_a_cgroup_is_not_waited_for() -> Result<()> {
    Cluster::with(|cluster| {
        let mut command = cluster.node_place().command(agent::binary()?)?;
        command.args(["attach", "--wait", "--pod-cgroup", "/nonexistent/kubepods"]);
        command.arg("--bpf-fs").arg(cluster.bpf_fs.path());
        let finished = process::run(&mut command, b"", PATIENCE)?;
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(finished.stderr.contains("/nonexistent/kubepods"), "{finished:?}");
        assert!(cluster.bpf_fs.pins()?.is_empty());
        Ok(())
    })
}
