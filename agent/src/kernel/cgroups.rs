//! The cgroup that all pods live in: where it is, and its id.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::fstatfs;

use super::{CgroupId, CgroupPaths, KernelError};

/// `CGROUP2_SUPER_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The id of the root of a cgroup2 hierarchy.
const ROOT_ID: u64 = 1;

/// kubelet's names for it: systemd driver, cgroupfs driver, and kind's (`--cgroup-root`).
const USUAL: [&str; 3] = ["kubepods.slice", "kubepods", "kubelet.slice/kubelet-kubepods.slice"];

/// The cgroup of all pods, held open.
#[derive(Debug)]
pub struct PodCgroup {
    path: PathBuf,
    directory: File,
    id: u64,
    level: u32,
}

/// What is where a cgroup was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The cgroup.
    Same,
    /// One that was made in its place.
    Other,
    /// Nothing.
    Gone,
}

impl PodCgroup {
    /// Opens the directory given, or finds it by its usual names below the cgroup2 mount.
    ///
    /// # Errors
    /// What is not there, and how to say where it is.
    pub fn open(given: Option<&Path>) -> Result<Self, KernelError> {
        let mounts = cgroup2_mounts()?;
        match given {
            Some(path) => Self::at(path, &mounts),
            None => Self::at(&find(mounts.first().ok_or(KernelError::NoCgroup2)?)?, &mounts),
        }
    }

    /// As [`Self::open`], for when kubelet may not have made it yet.
    ///
    /// # Errors
    /// Where it could never be: no cgroup2, or a directory on another file system.
    pub fn find(given: Option<&Path>) -> Result<Option<Self>, KernelError> {
        match Self::open(given) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(KernelError::NoPodCgroup { .. }) => Ok(None),
            Err(error) if error.is_of_gone_cgroup() => match given {
                Some(path) if !would_be_cgroup2(path) => {
                    Err(KernelError::NotCgroup2 { path: path.to_owned() })
                }
                _ => Ok(None),
            },
            Err(error) => Err(error),
        }
    }

    fn at(path: &Path, mounts: &[PathBuf]) -> Result<Self, KernelError> {
        const MEND: &str = "; --pod-cgroup names the cgroup that holds all pods";
        let failed =
            |what, source| KernelError::File { what, path: path.to_owned(), mend: MEND, source };
        let open = |error| failed("open the pods' cgroup", error);
        let path = path.canonicalize().map_err(open)?;
        let directory = File::open(&path).map_err(open)?;
        let stat = fstatfs(&directory)
            .map_err(|error| failed("look at the file system of", error.into()))?;
        let metadata = directory.metadata().map_err(|error| failed("look at", error))?;
        if stat.f_type != CGROUP2_MAGIC || !metadata.is_dir() {
            return Err(KernelError::NotCgroup2 { path });
        }
        let below = mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(mount).ok()?)));
        let Some((mount, below)) = below.min_by_key(|(_, below)| below.components().count()) else {
            return Err(KernelError::NoCgroup2);
        };
        let root = mount.metadata().map_err(|error| failed("look at the root above", error))?;
        if root.ino() != ROOT_ID {
            return Err(KernelError::NotRoot { mount: mount.clone() });
        }
        let level = u32::try_from(below.components().count()).unwrap_or(u32::MAX);
        Ok(Self { id: metadata.ino(), path, directory, level })
    }

    /// Opens it anew: kubelet may have removed it and made it again, with another id.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reopen(&self) -> Result<Self, KernelError> {
        Self::open(Some(&self.path))
    }

    /// What is at its path now.
    pub(super) fn presence(&self) -> Presence {
        match self.path.metadata() {
            Ok(metadata) if metadata.ino() == self.id => Presence::Same,
            Ok(_) => Presence::Other,
            Err(_) => Presence::Gone,
        }
    }

    /// How deep it lies below the root of the hierarchy, which is at 0.
    pub(super) fn level(&self) -> u32 {
        self.level
    }

    /// The cgroup of the pod that this process is in, if it is in one. `/proc/self/cgroup` does not
    /// tell from inside of a cgroup namespace; the kernel's lists of processes do, since they show
    /// this process by the number that it knows.
    ///
    /// # Errors
    /// Where the pods' cgroup cannot be read.
    pub(super) fn own_pod(&self) -> Result<Option<CgroupId>, KernelError> {
        let own = std::process::id().to_string();
        let Some(pod) = self.each()?.into_iter().find(|pod| has_process(pod, &own)) else {
            return Ok(None);
        };
        let metadata = pod.metadata().map_err(|source| self.unreadable(source))?;
        Ok(Some(CgroupId(metadata.ino())))
    }

    /// The cgroups that may be a pod's: all right below, and all below a class of pods.
    ///
    /// # Errors
    /// Where the pods' cgroup cannot be read.
    pub fn each(&self) -> Result<Vec<PathBuf>, KernelError> {
        let tops = directories(&self.path).map_err(|source| self.unreadable(source))?;
        let pods = tops.into_iter().flat_map(|top| {
            let is_class = top.file_name().and_then(|name| name.to_str()).is_some_and(is_class);
            // A class that is removed meanwhile has none.
            if is_class { directories(&top).unwrap_or_default() } else { vec![top] }
        });
        Ok(pods.collect())
    }

    fn unreadable(&self, source: io::Error) -> KernelError {
        KernelError::File { what: "read", path: self.path.clone(), mend: "", source }
    }

    /// Tells where the cgroups below it lie.
    ///
    /// # Errors
    /// Where the kernel does not let this process ask.
    pub fn paths(&self) -> Result<CgroupPaths, KernelError> {
        let hierarchy = self.directory.try_clone().map_err(|source| KernelError::File {
            what: "open",
            path: self.path.clone(),
            mend: "",
            source,
        })?;
        CgroupPaths::new(&self.path, CgroupId(self.id), hierarchy)
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

/// Whether what is made at `path` will be a cgroup: whether the closest directory that is there is one.
fn would_be_cgroup2(path: &Path) -> bool {
    let above = path.ancestors().find_map(|above| File::open(above).ok());
    let stat = above.and_then(|above| fstatfs(above).ok());
    stat.is_some_and(|stat| stat.f_type == CGROUP2_MAGIC)
}

fn find(mount: &Path) -> Result<PathBuf, KernelError> {
    let named = USUAL.iter().map(|name| mount.join(name)).find(|path| path.is_dir());
    named.ok_or_else(|| KernelError::NoPodCgroup {
        mount: mount.to_owned(),
        looked_for: USUAL.join(", "),
    })
}

/// Where cgroup2 is mounted: at one place or more.
///
/// # Errors
/// Where it is nowhere, or that cannot be told.
pub fn cgroup2_mounts() -> Result<Vec<PathBuf>, KernelError> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(MOUNTS).map_err(|source: io::Error| KernelError::File {
        what: "read",
        path: MOUNTS.into(),
        mend: "",
        source,
    })?;
    let mounts: Vec<_> = mounts.lines().filter_map(cgroup2_mount_point).collect();
    if mounts.is_empty() { Err(KernelError::NoCgroup2) } else { Ok(mounts) }
}

/// Whether kubelet gave this name to a class of pods (`burstable`, `kubepods-besteffort.slice`).
fn is_class(name: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    name.ends_with("burstable") || name.ends_with("besteffort")
}

fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path)?.filter_map(Result::ok);
    Ok(entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// Whether a process is in this cgroup or below. One that is removed meanwhile has none.
fn has_process(cgroup: &Path, process: &str) -> bool {
    let here = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    here.lines().any(|line| line == process)
        || directories(cgroup).unwrap_or_default().iter().any(|below| has_process(below, process))
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
    fn what_could_never_be_a_cgroup_is_not_waited_for() {
        let error = PodCgroup::find(Some(Path::new("/no/such/cgroup"))).unwrap_err();
        assert!(matches!(error, KernelError::NotCgroup2 { .. }), "{error}");
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
