//! A BPF file system of a test's own, where its agent pins what must outlive it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::wait::PATIENCE;

/// What its directory is called inside a test's directory.
pub const NAME: &str = "bpf";
/// Where in it this version of the programs is pinned.
pub const PINS: &str = "podrole/v2";

/// What the kernel itself puts into each new BPF file system (its `kernel/bpf/preload`).
const KERNELS_OWN: [&str; 2] = ["maps.debug", "progs.debug"];

/// A directory for a BPF file system; whatever is mounted there in the end goes with the handle.
#[derive(Debug)]
pub struct BpfFs {
    path: PathBuf,
}

impl BpfFs {
    /// An empty directory, with nothing mounted yet.
    pub fn new(directory: &Path) -> Result<Self> {
        let path = directory.join(NAME);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Mounts a BPF file system there.
    pub fn mount(&self) -> Result<()> {
        let mut command = Command::new("mount");
        command.args(["-t", "bpf", "bpf"]).arg(&self.path);
        process::run(&mut command, b"", PATIENCE)?.ok().context("mount a BPF file system")?;
        Ok(())
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where this is pinned.
    ///
    /// # Errors
    /// Where it is not.
    pub fn pin(&self, name: &str) -> Result<PathBuf> {
        let pin = self.pins()?.into_iter().find(|pin| pin.ends_with(name));
        pin.with_context(|| format!("{name} is not pinned"))
    }

    /// Everything that is pinned there, by path; nothing where nothing is mounted.
    pub fn pins(&self) -> Result<Vec<PathBuf>> {
        let mut pins = Vec::new();
        collect(&self.path, &mut pins)?;
        pins.retain(|pin| !KERNELS_OWN.map(|name| self.path.join(name)).contains(pin));
        Ok(pins)
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path) {
            eprintln!("{error:#}");
        }
    }
}

/// Takes away all that is mounted at `path`: with the last mount its pins go, and with them what they
/// hold attached.
pub fn unmount(path: &Path) -> Result<()> {
    let target = CString::new(path.as_os_str().as_bytes())?;
    // Whoever holds a file open in there (a killed agent on its way out) must not keep the mount.
    // SAFETY: the path is a C string that outlives the call.
    while unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } == 0 {}
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOENT) => Ok(()),
        _ => Err(error).with_context(|| format!("unmount {}", path.display())),
    }
}
