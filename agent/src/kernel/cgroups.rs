//! The cgroup that all pods live in: where it is, and its id.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::fstatfs;

use super::KernelError;

/// `CGROUP2_SUPER_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// kubelet's names for it: systemd driver, cgroupfs driver, and kind's (`--cgroup-root`).
const USUAL: [&str; 3] = ["kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice"];

/// The cgroup of all pods, held open.
#[derive(Debug)]
pub struct PodCgroup {
    path: PathBuf,
    directory: File,
    id: u64,
}

impl PodCgroup {
    /// Opens the directory given, or finds it by its usual names below the cgroup2 mount.
    ///
    /// # Errors
    /// What is not there, and how to say where it is.
    pub fn open(given: Option<&Path>) -> Result<Self, KernelError> {
        match given {
            Some(path) => Self::at(path.to_owned()),
            None => Self::at(find(&cgroup2_mount()?)?),
        }
    }

    fn at(path: PathBuf) -> Result<Self, KernelError> {
        const MEND: &str = "; --pod-cgroup names the cgroup that holds all pods";
        let failed =
            |what, source| KernelError::File { what, path: path.clone(), mend: MEND, source };
        let directory =
            File::open(&path).map_err(|error| failed("open the pods' cgroup", error))?;
        let stat = fstatfs(&directory)
            .map_err(|error| failed("look at the file system of", error.into()))?;
        let metadata = directory.metadata().map_err(|error| failed("look at", error))?;
        if stat.f_type != CGROUP2_MAGIC || !metadata.is_dir() {
            return Err(KernelError::NotCgroup2 { path });
        }
        Ok(Self { path, directory, id: metadata.ino() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id: the inode of its directory, as `bpf_get_current_cgroup_id` and the links' information
    /// have it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn directory(&self) -> &File {
        &self.directory
    }
}

fn find(mount: &Path) -> Result<PathBuf, KernelError> {
    let named = USUAL.iter().map(|name| mount.join(name)).find(|path| path.is_dir());
    named.ok_or_else(|| KernelError::NoPodCgroup {
        mount: mount.to_owned(),
        looked_for: USUAL.join(", "),
    })
}

fn cgroup2_mount() -> Result<PathBuf, KernelError> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(MOUNTS).map_err(|source: io::Error| KernelError::File {
        what: "read",
        path: MOUNTS.into(),
        mend: "",
        source,
    })?;
    mounts.lines().find_map(cgroup2_mount_point).ok_or(KernelError::NoCgroup2)
}

/// `proc_pid_mountinfo(5)`: the mount point is the fifth field, the type the first after the dash.
fn cgroup2_mount_point(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let is_cgroup2 = kind.split(' ').next()? == "cgroup2";
    is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_cgroup2_is_found_among_others() {
        let v1 = "26 25 0:23 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu";
        let v2 = "34 25 0:31 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount_point(v1), None);
        assert_eq!(cgroup2_mount_point(v2).unwrap(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount_point("garbage"), None);
    }

    #[test]
    fn each_usual_name_is_found() {
        for name in USUAL {
            let mount = tempfile::tempdir().unwrap();
            fs::create_dir_all(mount.path().join(name)).unwrap();
            assert_eq!(find(mount.path()).unwrap(), mount.path().join(name));
        }
    }

    #[test]
    fn a_directory_elsewhere_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let error = PodCgroup::open(Some(directory.path())).unwrap_err();
        assert!(error.to_string().contains("--pod-cgroup"), "{error}");
        let error = PodCgroup::open(Some(Path::new("/no/such/cgroup"))).unwrap_err();
        assert!(error.to_string().contains("/no/such/cgroup"), "{error}");
    }
}
