//! What fails on the node: its disk, its limits, its BPF file system, its cgroups, and the node itself.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use podrole_tests::agent::Agent;
use podrole_tests::bpffs;
use podrole_tests::cgroup;
use podrole_tests::cluster::Cluster;
use podrole_tests::process;
use podrole_tests::wait::{self, PATIENCE};

use crate::pods;
use crate::table::{Fails, Row, Size, ended};

/// A small file system in memory, with the handle.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"]).arg(&path);
        process::run(&mut command, b"", PATIENCE)?.ok().context("mount a small disk")?;
        Ok(Self(path))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room.
    fn fill(&self) -> Result<()> {
        let mut file = fs::File::create(self.filler())?;
        loop {
            match file.write_all(&[0; 512]) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = bpffs::unmount(&self.0) {
            eprintln!("{error:#}");
        }
    }
}

/// Pods come, and the agent starts again, while nothing can be written.
pub(crate) fn disk_full(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let disk = Disk::new(cluster.directory().join("small"))?;
    let state = disk.0.display().to_string();
    let start = || cluster.agent().set("--state-dir", &state);
    let old = pods(cluster, "old", size)?;
    let mut agent = start().start()?;
    let snapshot = disk.0.join("pods.json");
    wait::until_true("a snapshot", || Ok(snapshot.exists()))?;

    let mut load = cluster.load(&old)?;
    disk.fill()?;
    let new = pods(cluster, "new", size)?;
    for pod in &new {
        pod.credentials_of(&pod.name)?;
    }
    agent.wait_for_log("would not survive a restart")?;
    load.until_more(size.tries)?;
    let full = Row::new("disk of the state directory full", Fails::Never, load, ended()?)?;

    let mut load = cluster.load(&old)?;
    agent.kill()?;
    let mut agent = start().start()?;
    let end = ended()?;
    load.until_more(size.tries)?;
    fs::remove_file(disk.filler())?;
    // With room again, what was not written is.
    let uid = &new[0].uid;
    cluster.pod("last").role("last").start()?.credentials_of("last")?;
    wait::until_true("the new pods in the snapshot", || {
        Ok(fs::read_to_string(&snapshot)?.contains(uid.as_str()))
    })?;
    agent.wait_until_ready()?;
    let again = "the agent killed and started on a full disk";
    Ok(vec![full, Row::new(again, Fails::Meanwhile, load, end)?])
}

fn descriptors(agent: &Agent) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", agent.id()))?.count())
}

/// Sets how many descriptors the agent may have (prlimit(2)), and gives how many it might before.
fn limit(agent: &Agent, most: u64) -> Result<u64> {
    let pid = libc::pid_t::try_from(agent.id())?;
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit the call only fills the struct, which is live.
    let got = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before) };
    let after = libc::rlimit { rlim_cur: most, rlim_max: before.rlim_max };
    // SAFETY: the call reads the struct, which is live.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const after, std::ptr::null_mut()) };
    ensure!(got == 0 && set == 0, "prlimit: {}", io::Error::last_os_error());
    Ok(before.rlim_cur)
}

/// First there is none to be had at all, and then fewer than are asked for.
pub(crate) fn descriptors_exhausted(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let pods = pods(cluster, "web", size)?;
    let mut agent = cluster.agent().start()?;
    let mut load = cluster.load(&pods)?;
    let many = pods.iter().map(|pod| cluster.hammer(pod, 8)).collect::<Result<Vec<_>>>()?;
    let usual = limit(&agent, 3)?;
    agent.wait_for_log("cannot accept a connection")?;
    load.until_more(2)?;
    limit(&agent, u64::try_from(descriptors(&agent)?)? + 1)?;
    load.until_more(size.tries)?;
    limit(&agent, usual)?;
    let end = ended()?;
    load.until_more(size.tries)?;
    for (hammer, pod) in many.into_iter().zip(&pods) {
        let tally = hammer.finish()?;
        ensure!(!tally.has_the_nodes() && tally.served(&pod.name) > 0, "{tally:?}");
    }
    agent.wait_until_ready()?;
    Ok(vec![Row::new("file descriptors exhausted", Fails::Meanwhile, load, end)?])
}

/// The agent holds what was pinned, pins it again, and what it pinned outlives it.
fn pins_gone(
    cluster: &Cluster,
    size: &Size,
    what: &str,
    go: fn(&Path) -> Result<()>,
) -> Result<Vec<Row>> {
    let pods = pods(cluster, "web", size)?;
    let mut agent = cluster.agent().start()?;
    let before = cluster.bpf_fs.pins()?;
    let mut load = cluster.load(&pods)?;
    go(cluster.bpf_fs.path())?;
    agent.wait_for_log("are pinned again")?;
    ensure!(sorted(cluster.bpf_fs.pins()?) == sorted(before), "not all of it");
    load.until_more(size.tries)?;
    let row = Row::new(what, Fails::Never, load, ended()?)?;

    let mut load = cluster.load(&pods)?;
    agent.kill()?;
    load.until_more(2)?;
    let mut agent = cluster.agent().start()?;
    let end = ended()?;
    agent.wait_for_log("new=0 taken_up=9")?;
    load.until_more(size.tries)?;
    let killed = format!("then the agent killed ({what})");
    Ok(vec![row, Row::new(&killed, Fails::Meanwhile, load, end)?])
}

fn sorted(mut pins: Vec<PathBuf>) -> Vec<PathBuf> {
    pins.sort();
    pins
}

pub(crate) fn bpf_fs_unmounted(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    pins_gone(cluster, size, "BPF file system unmounted", bpffs::unmount)
}

pub(crate) fn bpf_fs_covered(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    pins_gone(cluster, size, "another BPF file system mounted over it", |path| {
        let mut command = Command::new("mount");
        command.args(["-t", "bpf", "bpf"]).arg(path);
        process::run(&mut command, b"", PATIENCE)?.ok().context("mount a BPF file system")?;
        Ok(())
    })
}

/// Kubelet takes all pods away and makes their cgroup anew.
pub(crate) fn cgroup_made_anew(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let old = pods(cluster, "old", size)?;
    let mut agent = cluster.agent().start()?;
    let mut load = cluster.load(&old)?;
    load.until_more(1)?;
    drop(load);
    drop(old);
    cgroup::remove(&cluster.pod_cgroup())?;
    let new = pods(cluster, "new", size)?;
    agent.wait_for_log("had come off the pods' cgroup")?;
    let end = ended()?;
    let mut load = cluster.load(&new)?;
    load.until_more(size.tries)?;
    Ok(vec![Row::new("the pods' cgroup made anew", Fails::Never, load, end)?])
}

/// Pins and programs are gone, pods run, and nothing stood guard until the agent came.
pub(crate) fn rebooted(cluster: &Cluster, size: &Size) -> Result<Vec<Row>> {
    let pods = pods(cluster, "web", size)?;
    cluster.agent().start()?.kill()?;
    cluster.detach()?;
    for pod in &pods {
        ensure!(pod.node_credentials()?.is_some(), "what stands between them and the node?");
    }
    let began = ended()?;
    let _agent = cluster.agent().start()?;
    let came = ended()?;
    let mut load = cluster.load(&pods)?;
    load.until_more(size.tries)?;
    let seconds = came.saturating_sub(began).as_secs_f64();
    let what = format!("node rebooted, pods running (agent ready after {seconds:.1} s)");
    Ok(vec![Row::new(&what, Fails::Never, load, came)?])
}
