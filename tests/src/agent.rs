//! The real agent as a child process in the node's network namespace.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::aws::STS_URL;
use crate::cluster::{Cluster, NODE, NODE_ADDRESSES};
use crate::curl;
use crate::place::Place;
use crate::pod::Pod;
use crate::pretend::node;
use crate::process::{self, Finished, Process};
use crate::wait::{self, PATIENCE};

/// The EKS cluster's name in session tags.
pub const CLUSTER_NAME: &str = "prod";
/// The EKS cluster's ARN in session tags.
pub const CLUSTER_ARN: &str = "arn:aws:eks:us-west-2:111122223333:cluster/prod";
/// The proxy's port, where none is chosen.
const PROXY_PORT: u16 = 16925;
/// Names the forward guard's hook for all tests: `clsact` runs them as on a kernel without tcx.
const FORWARD_HOOK: &str = "PODROLE_TEST_FORWARD_HOOK";
/// Where it says whether it is ready, seen from the node.
const READY_URL: &str = "http://10.0.0.10:16926/readyz";

/// Where the binary under test is.
///
/// # Errors
/// Where the environment does not say.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("PODROLE_AGENT").map(PathBuf::from);
    let path = path.context("PODROLE_AGENT is not set: run `cargo xtask test`")?;
    if !path.is_file() {
        bail!("PODROLE_AGENT is {}, which is no file: run `cargo xtask test`", path.display());
    }
    Ok(path)
}

/// An agent that is not started yet.
#[derive(Debug)]
#[must_use]
pub struct AgentBuilder<'c> {
    cluster: &'c Cluster,
    place: Place,
    binary: Option<PathBuf>,
    wrapper: Vec<String>,
    flags: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl<'c> AgentBuilder<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        let flags = [
            ("--node-name", NODE.to_owned()),
            ("--pod-cgroup", path(cluster.pod_cgroup())),
            ("--bpf-fs", path(cluster.bpf_fs.path().to_owned())),
            ("--state-dir", path(cluster.directory().join("state"))),
            ("--socket", path(cluster.socket())),
            ("--listen", NODE_ADDRESSES[0].to_owned()),
            ("--listen", NODE_ADDRESSES[1].to_owned()),
            ("--kubelet-dir", path(cluster.volumes.directory().to_owned())),
            ("--cluster-name", CLUSTER_NAME.to_owned()),
            ("--cluster-arn", CLUSTER_ARN.to_owned()),
            ("--permitted-roles", ".*".to_owned()),
            // There is a Node object in few tests.
            ("--startup-taint", String::new()),
            ("--log-format", "text".to_owned()),
        ];
        let keys = node::Keys::of_environment();
        let environment = [
            ("KUBECONFIG", path(cluster.kubernetes.kubeconfig().to_owned())),
            ("AWS_REGION", node::REGION.to_owned()),
            ("AWS_ENDPOINT_URL_STS", STS_URL.to_owned()),
            ("AWS_ENDPOINT_URL_EKS_AUTH", STS_URL.to_owned()),
            ("AWS_ACCESS_KEY_ID", keys.id),
            ("AWS_SECRET_ACCESS_KEY", keys.secret),
            ("RUST_BACKTRACE", "1".to_owned()),
        ];
        let owned = |(name, value): (&str, String)| (name.to_owned(), value);
        let hook = std::env::var(FORWARD_HOOK).ok();
        let hook = hook.map(|hook| ("PODROLE_FORWARD_HOOK".to_owned(), hook));
        Self {
            cluster,
            place: cluster.node_place(),
            binary: None,
            wrapper: Vec::new(),
            flags: flags.map(owned).into(),
            environment: environment.map(owned).into_iter().chain(hook).collect(),
        }
    }

    /// Another binary than the environment names.
    pub fn binary(mut self, path: PathBuf) -> Self {
        self.binary = Some(path);
        self
    }

    /// Started by another program, which takes rights or mounts away first.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With this value of `flag`, and no other.
    pub fn set(self, flag: &str, value: &str) -> Self {
        self.without(flag).add(flag, value)
    }

    /// With one more value of `flag`.
    pub fn add(mut self, flag: &str, value: &str) -> Self {
        self.flags.push((flag.to_owned(), value.to_owned()));
        self
    }

    /// Without `flag`.
    pub fn without(mut self, flag: &str) -> Self {
        self.flags.retain(|(name, _)| name != flag);
        self
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without an environment variable.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// As a process of `pod`, as one of a `DaemonSet` is.
    pub fn in_pod(mut self, pod: &Pod<'_>) -> Self {
        self.place = Place::clone(pod);
        self
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start(self) -> Result<Agent> {
        let mut agent = self.spawn()?;
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Agent> {
        let log = self.cluster.directory().join(format!("agent-{}.log", self.cluster.next_agent()));
        let process = Process::spawn("the agent", &mut self.command()?, &log)?;
        Ok(Agent { process, node: self.cluster.node_place() })
    }

    /// Runs it to its end, which must come soon.
    pub fn run(self) -> Result<Finished> {
        process::run(&mut self.command()?, b"", PATIENCE)
    }

    /// The binary and its arguments.
    ///
    /// # Errors
    /// As [`binary`].
    pub fn words(&self) -> Result<Vec<OsString>> {
        let binary = self.binary.clone().map_or_else(binary, Ok)?;
        let flags = self.flags.iter().flat_map(|(flag, value)| [flag.into(), value.into()]);
        Ok([binary.into(), "agent".into()].into_iter().chain(flags).collect())
    }

    /// Its environment.
    #[must_use]
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    fn command(&self) -> Result<Command> {
        let mut words = self.wrapper.iter().map(OsString::from).chain(self.words()?);
        let first = words.next().context("there is the binary at least")?;
        let mut command = self.place.command(first)?;
        command.args(words).envs(self.environment.iter().cloned());
        Ok(command)
    }
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    node: Place,
}

impl Agent {
    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// Where it ends instead, or the answer is another for too long (the last one is shown).
    pub fn wait_until_ready(&mut self) -> Result<()> {
        let mut last = String::from("no answer");
        let ready = wait::until_true("the agent's /readyz", || {
            if let Some(status) = self.process.ended()? {
                bail!("the agent ended: {status}");
            }
            let reply = curl::request(&self.node, "GET", READY_URL, &[], "");
            let ready = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            last = reply.map_or_else(|e| format!("{e:#}"), |r| format!("{} {}", r.status, r.body));
            Ok(ready)
        });
        ready.with_context(|| format!("last of /readyz: {last}"))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All that it logged.
    pub fn log(&self) -> Result<String> {
        self.process.output()
    }

    /// Waits until it logged a line that contains `text`.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        self.process.wait_for_lines(text, 1)
    }

    /// Waits until somebody is connected to the proxy's default port.
    pub fn wait_for_open_connection(&self) -> Result<()> {
        // proc(5), /proc/net/tcp: addresses and ports in hexadecimal, state 01 is ESTABLISHED.
        let (port, established) = (format!(":{PROXY_PORT:04X}"), "01");
        wait::until_true("a connection to the proxy", || {
            let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.process.id()))?;
            Ok(table.lines().any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                fields.next().is_some_and(|local| local.ends_with(&port))
                    && fields.nth(1) == Some(established)
            }))
        })
    }

    /// Waits until it has taken over from the agent that was on duty.
    pub fn wait_until_on_duty(&mut self) -> Result<()> {
        // The programs are loaded and tested by two agents at once, on a machine that serves all pods.
        let deadline = 3 * PATIENCE;
        wait::until("the hand-over", deadline, || {
            self.process.ensure_running()?;
            let log = self.process.output()?;
            Ok(log.contains("the agent before this one is at rest").then_some(()))
        })
    }

    /// Asks it to end (SIGTERM), as kubelet does.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(libc::SIGTERM)
    }

    /// Stops it where it stands (SIGSTOP): what it would notice, it does not until it is resumed.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(libc::SIGSTOP)?;
        // The signal returns before each thread has stopped.
        wait::until_true("the agent to stop", || self.process.is_stopped())
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(libc::SIGCONT)
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.process.wait(within)
    }

    /// Kills it (SIGKILL).
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }
}

impl Cluster {
    /// Runs another command of the binary, on the node.
    pub fn podrole(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.node_place().command(binary()?)?;
        process::run(command.args(arguments), b"", PATIENCE)
    }

    /// Where its agents answer the other commands.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory().join("run/agent.sock")
    }

    /// Runs a command that asks the agent, such as `status`.
    pub fn ask(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.node_place().command(binary()?)?;
        process::run(command.args(arguments).arg("--socket").arg(self.socket()), b"", PATIENCE)
    }

    /// Runs `podrole detach` for this node's pins.
    pub fn detach(&self) -> Result<()> {
        let bpf_fs = self.bpf_fs.path().display().to_string();
        self.podrole(&["detach", "--bpf-fs", &bpf_fs])?.ok()?;
        Ok(())
    }
}
