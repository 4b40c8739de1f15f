//! The self-test of an agent that may make no network namespace: the process stays in the node's, where
//! the programs leave all alone but what is marked for this. It sees the redirect, the guard, and that it is
//! this node's podrole which answers; what the node's rules do with packets of pods, it does not see.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::{DEADLINE, Place, SelfTestError, failed, probe, way};
use crate::kernel::Rules;
use crate::report::Chain;

/// What the process found.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Found {
    /// What was given for a token, and to which source address.
    tokens: Vec<(IpAddr, String)>,
    /// Checks that failed.
    failed: Vec<String>,
}

/// Runs it; `is_ours` says whether a token was given by this node's podrole.
pub(super) async fn run(
    place: &Place,
    rules: &Rules,
    is_ours: &(dyn Fn(&str, IpAddr) -> bool + Sync),
) -> Result<(), SelfTestError> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("self-test").arg("--in-node").arg("--cgroup").arg(&place.path);
    for address in rules.metadata() {
        command.arg("--metadata").arg(address.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = timeout(DEADLINE, command.output()).await.map_err(|_| SelfTestError::Late)?;
    let ended = ended.map_err(|error| SelfTestError::NotRun("start", error))?;
    if !ended.status.success() {
        return Err(failed(&ended));
    }
    let mut found: Found = serde_json::from_slice(&ended.stdout)
        .map_err(|error| SelfTestError::NotRun("tell what it found", error.into()))?;
    let others = found.tokens.iter().filter(|(address, token)| !is_ours(token, *address));
    found.failed.extend(others.map(|(address, _)| format!("somebody else answers {address}")));
    if found.failed.is_empty() {
        return Ok(());
    }
    Err(SelfTestError::Failed { status: ended.status, said: found.failed.join("; ") })
}

/// The process: moves to its place, asks for tokens and does what is to be refused. Says what it found as
/// JSON.
///
/// # Errors
/// Where it cannot move there.
pub fn process(cgroup: &Path, metadata: &[IpAddr]) -> io::Result<String> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    let mut found = Found::default();
    for target in metadata.iter().flat_map(|address| probe::spellings(*address)) {
        let target_port = SocketAddr::new(target, way::METADATA_PORT);
        match probe::shown(target_port).and_then(|_| way::put_token(target_port)) {
            Ok((from, token)) => found.tokens.push((from.ip().to_canonical(), token)),
            Err(error) => {
                found.failed.push(format!("a connection to {target}: {}", Chain(&error)));
            }
        }
        found.failed.extend(probe::refused(target));
    }
    Ok(serde_json::to_string(&found)?)
}
