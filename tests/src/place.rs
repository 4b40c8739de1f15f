//! Where a process runs: in a network namespace and a cgroup, as a container's does.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::wait::PATIENCE;

/// All of the environment that processes in a [`Place`] begin with.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/nonexistent"),
];

/// A network namespace and a cgroup.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file of the network namespace.
    pub namespace: PathBuf,
    /// The directory of the cgroup.
    pub cgroup: PathBuf,
}

impl Place {
    /// A command that will run here, with an environment that names no cloud, no proxy and no home.
    ///
    /// Unlike `ip netns exec` this leaves the mounts alone, which would hide cgroup2 and bpffs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let open = |path: PathBuf, write: bool| {
            let file = File::options().read(!write).write(write).open(&path);
            file.with_context(|| format!("open {}", path.display()))
        };
        let members = open(self.cgroup.join("cgroup.procs"), true)?;
        let namespace = open(self.namespace.clone(), false)?;
        let mut command = Command::new(program);
        command.env_clear().envs(ENVIRONMENT);
        // SAFETY: between fork and exec the closure makes two system calls on descriptors that it
        // owns, and allocates nothing.
        unsafe { command.pre_exec(move || enter(&members, &namespace)) };
        Ok(command)
    }

    /// Runs lines of `ip` commands (without the word `ip`) here.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let mut command = self.command("ip")?;
        command.args(["-batch", "-"]);
        process::run(&mut command, batch.as_bytes(), PATIENCE)?
            .ok()
            .with_context(|| batch.to_owned())?;
        Ok(())
    }

    /// What a person types to run a shell here.
    #[must_use]
    pub fn by_hand(&self) -> String {
        format!(
            "sudo sh -c 'echo 0 > {}/cgroup.procs && exec nsenter --net={} bash'",
            self.cgroup.display(),
            self.namespace.display()
        )
    }
}

/// Moves the calling process: "0" in `cgroup.procs` stands for the writer.
fn enter(members: &File, namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open and the buffer is a static byte.
    if unsafe { libc::write(members.as_raw_fd(), b"0".as_ptr().cast(), 1) } != 1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a plain system call on an open descriptor.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
