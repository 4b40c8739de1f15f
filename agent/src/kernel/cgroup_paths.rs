//! From the id of a cgroup to where it lies, by the kernel's own word: cgroup ids are file handles
//! (`open_by_handle_at(2)`), so nothing is searched and nothing that a pod wrote is read.

use std::fs::{self, File};
use std::io;
use std::iter;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{CgroupId, KernelError};

/// `FILEID_KERNFS` of the kernel's `include/linux/exportfs.h`: the handle is the id and nothing else.
const FILEID_KERNFS: libc::c_int = 0xfe;

/// Tells where cgroups lie, as long as they are there.
#[derive(Debug)]
pub struct CgroupPaths {
    /// Any file of the hierarchy; it need not be there any longer.
    hierarchy: File,
    pods: PathBuf,
}

/// Why a cgroup has no path.
#[derive(Debug, thiserror::Error)]
pub enum NoPath {
    /// The cgroup was removed.
    #[error("the cgroup is gone")]
    Gone,
    /// It is not below the cgroup that all pods live in.
    #[error("{} is not below the pods' cgroup", path.display())]
    Elsewhere {
        /// Where it is.
        path: PathBuf,
    },
    /// The kernel does not say.
    #[error("the kernel does not open the cgroup by its id")]
    Failed(#[source] io::Error),
}

/// `struct file_handle` with room for one id.
#[repr(C)]
struct Handle {
    head: libc::file_handle,
    id: [u8; 8],
}

impl CgroupPaths {
    /// `pods` is the path of the cgroup of all pods, and `hierarchy` any open file of it.
    ///
    /// # Errors
    /// Where the kernel does not let this process open cgroups by their ids.
    pub(super) fn new(pods: &Path, id: CgroupId, hierarchy: File) -> Result<Self, KernelError> {
        const MEND: &str =
            "; podrole needs CAP_DAC_READ_SEARCH to tell pods apart, or --identity source-ip";
        let paths = Self { hierarchy, pods: pods.to_owned() };
        match paths.below_pods(id) {
            // One that is removed meanwhile is made again.
            Ok(_) | Err(NoPath::Gone) => Ok(paths),
            Err(NoPath::Elsewhere { path }) => Err(KernelError::File {
                what: "tell pods apart where the pods' cgroup shows as",
                path,
                mend: "; the cgroup2 file system is mounted over itself",
                source: io::ErrorKind::NotFound.into(),
            }),
            Err(NoPath::Failed(source)) => Err(KernelError::Syscall {
                call: "open_by_handle_at",
                object: paths.pods.display().to_string(),
                mend: MEND,
                source,
            }),
        }
    }

    /// Where the cgroup lies, relative to the cgroup of all pods.
    ///
    /// # Errors
    /// [`NoPath`]
    pub fn below_pods(&self, id: CgroupId) -> Result<PathBuf, NoPath> {
        let path = self.path(id)?;
        match path.strip_prefix(&self.pods) {
            Ok(below) => Ok(below.to_owned()),
            Err(_) => Err(NoPath::Elsewhere { path }),
        }
    }

    /// The cgroup that lies at `below` the cgroup of all pods, if there is one, and those right below
    /// it.
    #[must_use]
    pub fn at(&self, below: &Path) -> Vec<CgroupId> {
        let path = self.pods.join(below);
        let id = |metadata: fs::Metadata| CgroupId(metadata.ino());
        let Ok(own) = path.metadata() else { return Vec::new() };
        let entries = fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
        let inner = entries.filter_map(|entry| entry.metadata().ok());
        iter::once(own).chain(inner.filter(fs::Metadata::is_dir)).map(id).collect()
    }

    /// The name of the cgroup of all pods.
    #[must_use]
    pub fn name_of_pods(&self) -> &str {
        self.pods.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn path(&self, CgroupId(id): CgroupId) -> Result<PathBuf, NoPath> {
        let head = libc::file_handle { handle_bytes: 8, handle_type: FILEID_KERNFS, f_handle: [] };
        let mut handle = Handle { head, id: id.to_ne_bytes() };
        // SAFETY: the handle is whole, and as long as it says; the kernel keeps neither argument.
        let opened = unsafe {
            libc::open_by_handle_at(
                self.hierarchy.as_raw_fd(),
                (&raw mut handle).cast(),
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        if opened < 0 {
            let error = io::Error::last_os_error();
            let gone = error.raw_os_error() == Some(libc::ESTALE);
            return Err(if gone { NoPath::Gone } else { NoPath::Failed(error) });
        }
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        let opened = unsafe { OwnedFd::from_raw_fd(opened) };
        fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).map_err(NoPath::Failed)
    }
}
