//! A steady load: pods in which a real client looks for credentials all the time, and what it got.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::aws::role_arn;
use crate::cluster::Cluster;
use crate::leaks::Leaks;
use crate::pod::Pod;
use crate::pretend::sts::read_token;
use crate::process::Process;
use crate::wait;

const CLIENT: &str = include_str!("load/client.py");
/// Between the tries of a client, in seconds.
const BETWEEN: &str = "0.05";
/// How long a number of tries may take: one that fails takes a second.
const PATIENCE: Duration = Duration::from_mins(2);

/// Clients that ask, one in each pod.
#[derive(Debug)]
pub struct Load<'p, 'c> {
    cluster: &'c Cluster,
    clients: Vec<(&'p Pod<'c>, Process)>,
    gate: File,
    gate_path: PathBuf,
    leaks: Leaks,
    answered_before: usize,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// How often clients looked for credentials, of which each is three requests.
    pub made: usize,
    /// How often they found none.
    pub failed: usize,
    /// How often they found those of somebody else.
    pub wrong: usize,
    /// Packets of pods that arrived at the real metadata service, and its answers to pods.
    pub leaked: usize,
    /// When the last try that failed began, by the clock that never jumps.
    last_failure: Option<Duration>,
}

impl Cluster {
    /// Lets boto3 look for credentials in each of these pods, whose roles have their names, and waits until
    /// each has found some.
    pub fn load<'p, 'c>(&'c self, pods: &'p [Pod<'c>]) -> Result<Load<'p, 'c>> {
        let gate_path = self.fresh_file("gate")?;
        let gate = File::open(&gate_path)?;
        let (leaks, answered_before) = (self.leaks()?, self.metadata.requests_of_pods()?);
        let python = std::env::var_os("PODROLE_PYTHON");
        let python = python.context("PODROLE_PYTHON is not set: run `cargo xtask test`")?;
        let mut clients = Vec::new();
        for pod in pods {
            let mut command = pod.command(&python)?;
            command.args(["-c", CLIENT]).arg(&gate_path).arg(BETWEEN);
            let log = self.fresh_file("client")?;
            clients.push((pod, Process::spawn("boto3 in a loop", &mut command, &log)?));
        }
        let mut load = Load { cluster: self, clients, gate, gate_path, leaks, answered_before };
        load.until_more(1)?;
        Ok(load)
    }
}

impl Load<'_, '_> {
    /// Waits until each client has tried so many times more.
    pub fn until_more(&mut self, tries: usize) -> Result<()> {
        let count = |client: &Process| Ok::<_, anyhow::Error>(client.output()?.lines().count());
        let before: Vec<_> =
            self.clients.iter().map(|(_, client)| count(client)).collect::<Result<_>>()?;
        for ((pod, client), before) in self.clients.iter_mut().zip(before) {
            wait::until(&format!("{tries} tries of {}", pod.name), PATIENCE, || {
                client.ensure_running()?;
                Ok((count(client)? >= before + tries).then_some(()))
            })?;
        }
        Ok(())
    }

    /// Does something that no request may see the middle of.
    pub fn between<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        lock(&self.gate, libc::LOCK_EX).with_context(|| self.gate_path.display().to_string())?;
        let done = work();
        lock(&self.gate, libc::LOCK_UN)?;
        done
    }

    /// Ends it.
    pub fn finish(self) -> Result<Tally> {
        let mut tally = Tally::default();
        for (pod, mut client) in self.clients {
            client.close_input();
            client.wait(wait::PATIENCE)?;
            for line in client.output()?.lines() {
                tally.take(pod, line).with_context(|| format!("{}: {line}", pod.name))?;
            }
            // The fence goes the way of this pod's packets, those of all others too.
            tally.leaked += self.leaks.seen(pod)?.len();
        }
        let answered = self.cluster.metadata.requests_of_pods()?;
        tally.leaked += answered - self.answered_before;
        Ok(tally)
    }
}

impl Tally {
    fn take(&mut self, pod: &Pod<'_>, line: &str) -> Result<()> {
        let (began, token) = line.split_once(' ').context("no line of a client's")?;
        self.made += 1;
        if token == "-" {
            self.failed += 1;
            let began = Duration::from_secs_f64(began.parse()?);
            self.last_failure = self.last_failure.max(Some(began));
            return Ok(());
        }
        // What cannot be read is the node's own.
        let session = read_token(token);
        let own = session.is_ok_and(|session| {
            session.role == role_arn(&pod.name)
                && session.session == format!("{}@{}", pod.namespace, pod.name)
        });
        self.wrong += usize::from(!own);
        Ok(())
    }

    /// From `ended`, the end of a fault by [`now`], to the beginning of the last try that failed.
    #[must_use]
    pub fn recovered_after(&self, ended: Duration) -> Duration {
        self.last_failure.map_or(Duration::ZERO, |last| last.saturating_sub(ended))
    }

    /// Whether nothing went where it must not go.
    pub fn ensure_safe(&self) -> Result<()> {
        ensure!(self.made > 0 && self.wrong == 0 && self.leaked == 0, "{self:?}");
        Ok(())
    }
}

/// The clock that never jumps, as clients read it.
pub fn now() -> Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error()).context("CLOCK_MONOTONIC");
    }
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

fn lock(file: &File, how: i32) -> io::Result<()> {
    // SAFETY: a plain system call on an open descriptor.
    if unsafe { libc::flock(file.as_raw_fd(), how) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
