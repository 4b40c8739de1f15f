//! The pretend AWS of a cluster, seen from the harness: what it was asked, and how it shall answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::agent::CLUSTER_NAME;
use crate::clock::Clock;
use crate::curl;
use crate::place::Place;
use crate::pod::Address;
use crate::pretend::log::{self, Entry};
use crate::pretend::sts::asked::Asked;
use crate::pretend::sts::behaviour::{Behaviour, Setting, Way};
use crate::pretend::sts::pod_identity::Association;
use crate::pretend::{metadata, sts};
use crate::process::{self, Process};
use crate::wait;

/// Where STS listens, outside of the node.
pub const STS_ADDRESS: &str = "10.0.0.1:8080";
/// As clients take it.
pub const STS_URL: &str = "http://10.0.0.1:8080";
/// Where a proxy between the node and AWS listens.
const PROXY_ADDRESS: &str = "10.0.0.1:3128";
/// As clients take it.
pub const PROXY_URL: &str = "http://10.0.0.1:3128";
/// Where the real metadata service listens.
const METADATA_ADDRESSES: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];

/// The ARN of a role of the test account, which is not the node's.
#[must_use]
pub fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::444455556666:role/{name}")
}

/// Where an STS listens that goes by a clock of its own.
const CLOCKED_ADDRESS: &str = "10.0.0.1:8081";

/// The pretend STS.
#[derive(Debug)]
pub struct Sts {
    process: Process,
    place: Place,
    url: String,
    log: PathBuf,
}

/// The pretend instance metadata service of the node.
#[derive(Debug)]
pub struct Metadata {
    process: Process,
    log: PathBuf,
}

impl Sts {
    /// Starts it in `place`.
    pub fn start(place: &Place, directory: &Path) -> Result<Self> {
        let log = directory.join("sts.requests");
        let process = start(place, "sts", &[STS_ADDRESS], directory, &log)?;
        Ok(Self { process, place: place.clone(), url: STS_URL.to_owned(), log })
    }

    /// Starts one more, which goes by `clock`.
    pub fn start_by(clock: &Clock, place: &Place, directory: &Path) -> Result<Self> {
        let log = directory.join("clocked-sts.requests");
        let mut command = command(place, "sts", &[CLOCKED_ADDRESS], &log)?;
        command.envs(clock.environment());
        let process = listening("clocked-sts", &mut command, 1, directory)?;
        Ok(Self { process, place: place.clone(), url: format!("http://{CLOCKED_ADDRESS}"), log })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it where it stands, as a server behind a network that swallows everything, until it goes on.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(libc::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(libc::SIGCONT)
    }

    /// Starts one that is reached as an HTTP proxy is: whatever it is asked for by a whole URL, it answers
    /// itself.
    pub fn start_as_proxy(place: &Place, directory: &Path) -> Result<Self> {
        let log = directory.join("proxy.requests");
        let process = start(place, "sts", &[PROXY_ADDRESS], directory, &log)?;
        Ok(Self { process, place: place.clone(), url: PROXY_URL.to_owned(), log })
    }

    /// The AssumeRole requests that arrived so far for a role of the test account.
    pub fn asked_for(&self, role: &str) -> Result<Vec<Asked>> {
        let arn = role_arn(role);
        let entries: Vec<Entry<sts::Line>> = log::read(&self.log)?;
        let asked = entries.into_iter().filter_map(|entry| entry.line.asked);
        Ok(asked.filter(|asked| asked.role_arn == arn).collect())
    }

    /// All requests that arrived so far.
    pub fn requests(&self) -> Result<Vec<Entry<sts::Line>>> {
        log::read(&self.log)
    }

    /// Associates a role of the test account with a ServiceAccount, as EKS Pod Identity does.
    pub fn associate(&self, namespace: &str, service_account: &str, role: &str) -> Result<()> {
        let association = Association {
            cluster: CLUSTER_NAME.to_owned(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            role: role_arn(role),
        };
        let url = format!("{}/_pretend/association", self.url);
        let json = [("Content-Type", "application/json")];
        let body = serde_json::to_string(&association)?;
        curl::request(&self.place, "PUT", &url, &json, &body)?.ok().context(body)?;
        Ok(())
    }

    /// Waits until an AssumeRole for a role of the test account has arrived.
    pub fn wait_for_request(&self, role: &str) -> Result<()> {
        wait::until_true(&format!("an AssumeRole of {role}"), || {
            Ok(!self.asked_for(role)?.is_empty())
        })
    }

    /// Makes it answer so, from now on and only after `delay`, whoever asks for `role` of the test
    /// account.
    pub fn behave(&self, role: &str, answer: Way, delay: Duration) -> Result<()> {
        let behaviour = after(answer, delay)?;
        self.set(&Setting { role: Some(role_arn(role)), behaviour })
    }

    /// Makes it answer so, from now on, whoever asks.
    pub fn behave_to_all(&self, answer: Way) -> Result<()> {
        self.set(&Setting { role: None, behaviour: Behaviour::of(answer) })
    }

    /// Makes it answer everything only after `delay`, from now on.
    pub fn delay(&self, delay: Duration) -> Result<()> {
        self.set(&Setting { role: None, behaviour: after(Way::Normal, delay)? })
    }

    fn set(&self, setting: &Setting) -> Result<()> {
        let url = format!("{}/_pretend/behaviour", self.url);
        let json = [("Content-Type", "application/json")];
        let body = serde_json::to_string(setting)?;
        curl::request(&self.place, "PUT", &url, &json, &body)?.ok().context(body)?;
        Ok(())
    }
}

fn after(answer: Way, delay: Duration) -> Result<Behaviour> {
    let mut behaviour = Behaviour::of(answer);
    behaviour.delay_ms = u64::try_from(delay.as_millis())?;
    Ok(behaviour)
}

impl Metadata {
    /// Starts it in `place`.
    pub fn start(place: &Place, directory: &Path) -> Result<Self> {
        let log = directory.join("metadata.requests");
        let process = start(place, "metadata", &METADATA_ADDRESSES, directory, &log)?;
        Ok(Self { process, log })
    }

    /// Starts one more at `address`, which refuses requests without a token.
    pub fn start_with_tokens_required(
        place: &Place,
        directory: &Path,
        address: &str,
    ) -> Result<Self> {
        let which = "metadata-v2";
        let log = directory.join(format!("{which}.requests"));
        let mut command = command(place, "metadata", &[address], &log)?;
        command.arg("--tokens-required");
        let process = listening(which, &mut command, 1, directory)?;
        Ok(Self { process, log })
    }

    /// Stops it where it stands, until it goes on.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(libc::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(libc::SIGCONT)
    }

    /// All requests that arrived so far.
    pub fn requests(&self) -> Result<Vec<Entry<metadata::Line>>> {
        log::read(&self.log)
    }

    /// How many requests came from the addresses of pods.
    pub fn requests_of_pods(&self) -> Result<usize> {
        let requests = self.requests()?;
        Ok(requests.iter().filter(|request| Address::of(request.peer.ip()).is_some()).count())
    }
}

fn start(
    place: &Place,
    which: &str,
    addresses: &[&str],
    directory: &Path,
    log: &Path,
) -> Result<Process> {
    listening(which, &mut command(place, which, addresses, log)?, addresses.len(), directory)
}

fn command(place: &Place, which: &str, addresses: &[&str], log: &Path) -> Result<Command> {
    let mut command = place.command(process::own_binary("podrole-pretend")?)?;
    command.args([which, "--until-stdin-closes", "--log"]).arg(log);
    for address in addresses {
        command.args(["--listen", address]);
    }
    Ok(command)
}

fn listening(
    name: &str,
    command: &mut Command,
    addresses: usize,
    directory: &Path,
) -> Result<Process> {
    let output = directory.join(format!("{name}.log"));
    let mut process = Process::spawn(&format!("the pretend {name}"), command, &output)?;
    process.wait_for_lines("listening on", addresses)?;
    Ok(process)
}
