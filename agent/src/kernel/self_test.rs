//! The self-test: a process in the pods' cgroup, in a network namespace of its own that leads nowhere,
//! connects as a pod would. What answers it can only be the programs. Links can be attached and yet
//! not run: another program at the parent may change what they see, and a mixed cgroup v1 setup may
//! pass them by.

pub mod as_pod;
pub mod in_node;
mod network;
pub mod probe;
pub mod way;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use tracing::{debug, info};

use super::{CgroupId, Enforced, KernelError, Records, Rules};
use crate::report::Chain;

/// For the whole of it; it takes some milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// The cgroup it runs in, right below that of all pods. kubelet takes names with `pod` for pods.
const CGROUP: &str = "self-test";
/// The cgroup of its second half, which may run at the same time.
const WAY_CGROUP: &str = "self-test-way";

/// What the self-test found.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// It could not be run.
    #[error("the self-test could not {0}")]
    NotRun(&'static str, #[source] io::Error),
    /// The programs could not be told of it.
    #[error("the programs cannot be told of the self-test")]
    NotTold(#[source] KernelError),
    /// This process may make no network namespace, and none of its children.
    #[error("the self-test may make no network namespace of its own")]
    NoNetwork,
    /// It did not end.
    #[error("the self-test did not end within {} s", DEADLINE.as_secs())]
    Late,
    /// A process in the pods' cgroup did not get what a pod must get.
    #[error(
        "a process in the pods' cgroup is not served by podrole's programs ({status}): {said}; another program on the hooks of a parent cgroup may change what they see"
    )]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Each check that failed.
        said: String,
    },
}

/// The exit code of a process that may make no network namespace of its own.
pub const NO_NETWORK: u8 = 3;

/// Runs the self-test in the cgroup of all pods; where it may make no network namespace, in the node's,
/// which sees less. `is_ours` says whether a token was given by this node's podrole.
///
/// # Errors
/// Which check failed, or why none was made.
pub async fn run(
    pods: &Path,
    rules: &Rules,
    records: &Records,
    enforced: &Enforced,
    is_ours: &(dyn Fn(&str, IpAddr) -> bool + Sync),
) -> Result<(), SelfTestError> {
    let place = Place::make(pods, CGROUP)?;
    // Where pods are in audit, this one is not: so it shows that the programs would do their part.
    enforced.set(place.id, true).map_err(SelfTestError::NotTold)?;
    let _unsets = Unsets { enforced, place: place.id };
    // Its connections end in its own network namespace, and are not lost.
    let _forgets = Forgets { records, place: place.id };
    match test(&place, rules).await {
        Err(SelfTestError::NoNetwork) => {
            info!("the self-test may make no network of its own; it runs in the node's");
            in_node::run(&place, rules, is_ours).await
        }
        tested => tested,
    }
}

async fn test(place: &Place, rules: &Rules) -> Result<(), SelfTestError> {
    // This very program, even where its file has been replaced.
    let mut command = Command::new("/proc/self/exe");
    command.arg("self-test").arg("--cgroup").arg(&place.path);
    for address in rules.metadata() {
        command.arg("--metadata").arg(address.to_string());
    }
    for address in rules.proxies() {
        command.arg("--proxy").arg(address.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = timeout(DEADLINE, command.output()).await.map_err(|_| SelfTestError::Late)?;
    let ended = ended.map_err(|error| SelfTestError::NotRun("start", error))?;
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(NO_NETWORK) => Err(SelfTestError::NoNetwork),
        _ => Err(failed(&ended)),
    }
}

fn failed(ended: &Output) -> SelfTestError {
    let said = [ended.stdout.as_slice(), &ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
    SelfTestError::Failed { status: ended.status, said }
}

/// Has the connections of a test forgotten when it ends, however it does.
struct Forgets<'a> {
    records: &'a Records,
    place: CgroupId,
}

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.records.forget(self.place);
    }
}

/// Has a test's cgroup no longer enforced when it ends.
struct Unsets<'a> {
    enforced: &'a Enforced,
    place: CgroupId,
}

impl Drop for Unsets<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.enforced.set(self.place, false) {
            debug!(error = %Chain(&error), "the self-test's cgroup stays enforced");
        }
    }
}

/// The cgroup, removed when the self-test has ended.
struct Place {
    path: PathBuf,
    id: CgroupId,
}

impl Place {
    fn make(pods: &Path, name: &str) -> Result<Self, SelfTestError> {
        let path = pods.join(name);
        let made = match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        let made = made.and_then(|()| path.metadata());
        let id = made.map_err(|error| SelfTestError::NotRun("make its cgroup", error))?.ino();
        Ok(Self { path, id: CgroupId(id) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One that a killed test still lies in is removed by the next.
        let _ = fs::remove_dir(&self.path);
    }
}
