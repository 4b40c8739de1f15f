//! Network namespaces, made and configured by `ip`, so that a person can enter and look at them.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::process;
use crate::wait::PATIENCE;

/// Where `ip netns` keeps its names.
pub const DIRECTORY: &str = "/run/netns";

/// A network namespace with a name, which goes with its handle.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback interface up.
    ///
    /// `id` must begin with [`crate::leftovers::name`] of this process, so that it can be swept.
    pub fn new(id: &str) -> Result<Self> {
        run_ip(&["netns", "add", id], "")?;
        Self::named(id)
    }

    /// The machine's own namespace under a name, which alone goes with the handle. Before Linux 5.14 the
    /// agent cannot be told apart in any other: only for a machine that is the test's own.
    pub fn of_machine(id: &str) -> Result<Self> {
        run_ip(&["netns", "attach", id, "1"], "")?;
        Self::named(id)
    }

    fn named(id: &str) -> Result<Self> {
        let namespace = Self { name: id.to_owned() };
        // Duplicate address detection makes IPv6 addresses wait for a second.
        namespace.set(&[
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
        ])?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it, as `nsenter --net=` takes it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs lines of `ip` commands (without the word `ip`) in it.
    pub fn ip(&self, batch: &str) -> Result<()> {
        run_ip(&["-netns", &self.name, "-batch", "-"], batch)
    }

    /// Sets kernel parameters, by their path below `/proc/sys`.
    pub fn set(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.inside(|| {
            for (name, value) in parameters {
                let path = Path::new("/proc/sys").join(name);
                fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
            }
            Ok(())
        })
    }

    /// Runs `work` inside the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.path(), work)
    }
}

/// Runs `work` on a thread of its own inside the namespace of this file: a namespace belongs to a thread.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let namespace = File::open(path).with_context(|| format!("enter {}", path.display()))?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: a plain system call on a descriptor that stays open for its length; it changes
            // this new thread alone.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(std::io::Error::last_os_error()).context("setns");
            }
            work()
        });
        thread.join().map_err(|_| anyhow!("the work inside {} panicked", path.display()))?
    })
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = delete(&self.name) {
            eprintln!("{error:#}");
        }
    }
}

/// Takes the name of a namespace away; the kernel ends it with its last process.
pub fn delete(name: &str) -> Result<()> {
    run_ip(&["netns", "delete", name], "")
}

fn run_ip(arguments: &[&str], batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    let finished = process::run(command.args(arguments), batch.as_bytes(), PATIENCE)?;
    finished.ok().with_context(|| format!("ip {}\n{batch}", arguments.join(" ")))?;
    Ok(())
}
