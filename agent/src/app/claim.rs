//! One podrole to a node: two with other pins would each think that the other's programs are a
//! neighbour's, and two with other state would not know each other's tokens.
//!
//! The claim is a name in the node's network namespace (unix(7), "Abstract sockets"), which is gone with
//! its process, however that ends.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use crate::operate::control::hand_over::Use;

/// Where the kernel lists the names of this network namespace.
const NAMES: &str = "/proc/self/net/unix";

/// Another podrole runs on this node with another directory.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It does.
    #[error(
        "another podrole runs on this node with {flag} {theirs}; stop that one, or give this one the same"
    )]
    Taken {
        /// The flag that differs.
        flag: &'static str,
        /// The other's directory, as that one sees it.
        theirs: String,
    },
    /// The names cannot be read.
    #[error("cannot see whether another podrole runs on this node: cannot read {NAMES}")]
    Unreadable(#[source] io::Error),
}

/// Held as long as the process lives.
#[derive(Debug)]
pub(super) struct Claim {
    names: Vec<OwnedFd>,
}

impl Claim {
    /// Claims the node for these directories. One that has the same is no other: it is being replaced,
    /// or has the port, which is told then.
    pub(super) fn make(bpf_fs: &Path, state_dir: &Path) -> Result<Self, ClaimError> {
        let known = fs::read_to_string(NAMES).map_err(ClaimError::Unreadable)?;
        let mut names = Vec::new();
        for (flag, directory) in [("--bpf-fs", bpf_fs), ("--state-dir", state_dir)] {
            let own = Name::of(flag, directory);
            if let Some(theirs) = known.lines().find_map(|line| own.differs_from(line)) {
                return Err(ClaimError::Taken { flag, theirs: theirs.to_owned() });
            }
            names.extend(own.bind().map(OwnedFd::from));
        }
        Ok(Self { names })
    }

    /// To be handed over, so that the node stays claimed.
    pub(super) fn share(&self) -> io::Result<Vec<(Use, OwnedFd)>> {
        let shared = self.names.iter().map(|name| Ok((Use::Claim, name.try_clone()?)));
        shared.collect()
    }

    /// Holds what an agent before this one claimed.
    pub(super) fn take_over(&mut self, handed: &mut Vec<(Use, OwnedFd)>) {
        let claims = handed.extract_if(.., |(its_use, _)| *its_use == Use::Claim);
        self.names.extend(claims.map(|(_, name)| name));
    }
}

/// `podrole--bpf-fs=IDENTITY=PATH`: what a directory is, wherever it is mounted, and what it is called.
struct Name {
    prefix: String,
    identity: String,
    path: String,
}

impl Name {
    fn of(flag: &str, directory: &Path) -> Self {
        let identity = match directory.metadata() {
            Ok(metadata) => format!("{:x}.{:x}", metadata.dev(), metadata.ino()),
            // Made before this is asked; where it cannot be looked at, its name must do.
            Err(_) => directory.display().to_string(),
        };
        let path = directory.display().to_string();
        Self { prefix: format!("podrole{flag}="), identity, path }
    }

    /// The path of the other's directory, if a line of [`NAMES`] is the same claim of another one.
    fn differs_from<'a>(&self, line: &'a str) -> Option<&'a str> {
        let name = line.rsplit_once(" @")?.1.strip_prefix(&self.prefix)?;
        let (identity, path) = name.split_once('=')?;
        (identity != self.identity).then_some(path)
    }

    /// A name that is taken, by one with the same directory, or too long, is not insisted on.
    fn bind(&self) -> Option<UnixListener> {
        let name = format!("{}{}={}", self.prefix, self.identity, self.path);
        let address = SocketAddr::from_abstract_name(name).ok()?;
        UnixListener::bind_addr(&address).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_directory_of_the_same_flag_differs() {
        let own =
            Name { prefix: "podrole--bpf-fs=".into(), identity: "1.2".into(), path: "/b".into() };
        let line = |name: &str| format!("0000: 00000002 00000000 00010000 0001 01 12345 @{name}");
        assert_eq!(own.differs_from(&line("podrole--bpf-fs=1.2=/elsewhere")), None);
        assert_eq!(own.differs_from(&line("podrole--bpf-fs=3.4=/other")), Some("/other"));
        assert_eq!(own.differs_from(&line("podrole--state-dir=3.4=/other")), None);
        assert_eq!(own.differs_from(&line("something")), None);
        assert_eq!(own.differs_from("Num RefCount Protocol Flags Type St Inode Path"), None);
    }
}
