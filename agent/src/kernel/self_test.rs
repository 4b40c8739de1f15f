//! The self-test: a process in the pods' cgroup, in a network namespace of its own that leads nowhere,
//! connects as a pod would. What answers it can only be the programs. Links can be attached and yet
//! not run: another program at the parent may change what they see, and a mixed cgroup v1 setup may
//! pass them by.

pub mod as_pod;
pub mod probe;
pub mod way;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use tracing::debug;

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

/// Runs the self-test in the cgroup of all pods.
///
/// # Errors
/// Which check failed, or why none was made.
pub async fn run(
    pods: &Path,
    rules: &Rules,
    records: &Records,
    enforced: &Enforced,
) -> Result<(), SelfTestError> {
    let place = Place::make(pods, CGROUP)?;
    // Where pods are in audit, this one is not: so it shows that the programs would do their part.
    enforced.set(place.id, true).map_err(SelfTestError::NotTold)?;
    let tested = test(&place, rules).await;
    if let Err(error) = enforced.set(place.id, false) {
        debug!(error = %Chain(&error), "the self-test's cgroup stays enforced");
    }
    // Its connections end in its own network namespace, and are not lost.
    records.forget(place.id);
    tested
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
    if ended.status.success() {
        return Ok(());
    }
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().replace('\n', "; ");
    Err(SelfTestError::Failed { status: ended.status, said })
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
