//! The socket of one agent alone. While two live, the node's socket is that of the one on duty, and a
//! probe must ask the other: who runs in the same container as the agent sees the same mounts.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The socket of the agent that is in this process's container, for the node's `socket`; none where
/// the kernel does not tell.
#[must_use]
pub fn path(socket: &Path) -> Option<PathBuf> {
    let mounts = fs::metadata("/proc/self/ns/mnt").ok()?.ino();
    let mut path = prefix(socket);
    path.push(mounts.to_string());
    Some(path.into())
}

/// Removes what agents left here that were killed.
pub(super) fn sweep(socket: &Path) {
    let prefix = prefix(socket);
    let Some(entries) = socket.parent().and_then(|directory| fs::read_dir(directory).ok()) else {
        return;
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    for path in paths.filter(|path| is_own(path, &prefix)) {
        if let Err(error) = UnixStream::connect(&path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // Gone already is as good.
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_own(path: &Path, prefix: &std::ffi::OsStr) -> bool {
    let (path, prefix) = (path.as_os_str().as_encoded_bytes(), prefix.as_encoded_bytes());
    let rest = path.strip_prefix(prefix).unwrap_or_default();
    !rest.is_empty() && rest.iter().all(u8::is_ascii_digit)
}

fn prefix(socket: &Path) -> std::ffi::OsString {
    let mut prefix = socket.as_os_str().to_owned();
    prefix.push(".");
    prefix
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_nobody_answers_at_is_swept_away_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock");
        let at = |name: &str| directory.path().join(name);
        let living = UnixListener::bind(at("agent.sock.1")).unwrap();
        drop(UnixListener::bind(at("agent.sock.2")).unwrap());
        fs::write(at("agent.sock.lock"), "").unwrap();
        drop(UnixListener::bind(&socket).unwrap());
        sweep(&socket);
        let left = |name: &str| at(name).exists();
        assert!(left("agent.sock") && left("agent.sock.1") && left("agent.sock.lock"));
        assert!(!left("agent.sock.2"));
        drop(living);
    }

    #[test]
    fn it_lies_beside_the_nodes_socket() {
        let own = path(Path::new("/run/podrole/agent.sock")).unwrap();
        assert!(is_own(&own, &prefix(Path::new("/run/podrole/agent.sock"))), "{}", own.display());
    }
}
