//! Control groups (version 2), as kubelet lays them out for pods.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::wait;

/// Where the cgroup2 file system is mounted: `/sys/fs/cgroup`, or below it in hybrid layouts.
///
/// # Errors
/// Where it is not mounted at all (proc(5), `/proc/pid/mountinfo`).
pub fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .context("no cgroup2 file system is mounted: the tests need one")
}

/// A cgroup with all below it, which goes with its handle.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup and those above it that are missing.
    pub fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("make cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("{error:#}");
        }
    }
}

/// Kills every process in the cgroup and below it, and removes it.
///
/// A cgroup stays busy for a moment after its last process was killed, hence the waiting.
pub fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    kill_all(path).with_context(|| format!("kill all in {}", path.display()))?;
    let what = format!("the removal of cgroup {}", path.display());
    wait::until_true(&what, || match remove_tree(path) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(error) => Err(error).with_context(|| what.clone()),
    })
}

fn kill_all(path: &Path) -> io::Result<()> {
    let kill = path.join("cgroup.kill");
    if kill.exists() {
        return fs::write(kill, "1");
    }
    // Before Linux 5.14.
    for line in fs::read_to_string(path.join("cgroup.procs"))?.lines() {
        let process = line.parse().map_err(io::Error::other)?;
        // SAFETY: a plain system call; one that has just ended by itself is as good.
        unsafe { libc::kill(process, libc::SIGKILL) };
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_all(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
