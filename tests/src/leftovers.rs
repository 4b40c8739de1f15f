//! Names that carry the process id, and the removal of what a killed run left behind.

use std::fs;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::{bpffs, cgroup, netns};

const PREFIX: &str = "podrole-test-";

/// A name that no other cluster on the machine has: `podrole-test-PID-NUMBER`.
pub fn name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Removes, once per process, what dead processes of the same kind left on the machine.
pub fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        if let Err(error) = sweep_all() {
            eprintln!("leftovers of an earlier run could not be removed: {error:#}");
        }
    });
}

fn sweep_all() -> Result<()> {
    let cgroups = cgroup::mount_point()?;
    for name in dead(&cgroups)? {
        cgroup::remove(&cgroups.join(name))?;
    }
    for name in dead(Path::new(netns::DIRECTORY))? {
        netns::delete(&name)?;
    }
    let directories = std::env::temp_dir();
    for name in dead(&directories)? {
        let directory = directories.join(name);
        bpffs::unmount(&directory.join(bpffs::NAME))?;
        fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// The names in `directory` that carry the id of a process that is no more.
fn dead(directory: &Path) -> Result<Vec<String>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|pid| !is_alive(pid)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A dead process that nobody has waited for yet still has a directory, but no command line.
fn is_alive(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// The process id in a name that [`name`] made, whatever was appended to it.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_process_that_owns_them() {
        assert_eq!(owner(&name()), Some(std::process::id()));
        assert_eq!(owner(&format!("{}-pod3", name())), Some(std::process::id()));
        assert_ne!(name(), name());
    }

    #[test]
    fn strangers_names_are_left_alone() {
        for stranger in ["podrole", "podrole-test-", "podrole-test-x-1", "kubepods"] {
            assert_eq!(owner(stranger), None, "{stranger}");
        }
    }
}
