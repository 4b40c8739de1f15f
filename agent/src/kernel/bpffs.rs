//! The directory in the BPF file system where links are pinned, so that they outlive the agent.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use tracing::info;

use super::KernelError;

/// `BPF_FS_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// `<bpf-fs>/podrole/v<ABI>`. Only root may enter: on new kernels, access to a pinned file is all it
/// takes to attach or change what it names.
#[derive(Debug)]
pub struct PinDirectory(PathBuf);

impl PinDirectory {
    /// The directory below the BPF file system at `bpf_fs`, which is mounted if it is not there.
    ///
    /// # Errors
    /// What could not be mounted or made.
    pub fn create(bpf_fs: &Path) -> Result<Self, KernelError> {
        ensure_mounted(bpf_fs)?;
        let directory = Self::below(bpf_fs);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory.0)
            .map_err(failed("make", &directory.0))?;
        Ok(directory)
    }

    /// The path of one pin.
    #[must_use]
    pub fn pin(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn below(bpf_fs: &Path) -> Self {
        Self(bpf_fs.join("podrole").join(format!("v{}", podrole_ebpf::ABI)))
    }
}

/// Removes every pin of podrole, of any version; the kernel detaches what they held.
///
/// # Errors
/// What could not be removed. Nothing there is no error.
pub fn remove_all_pins(bpf_fs: &Path) -> Result<(), KernelError> {
    let directory = bpf_fs.join("podrole");
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &directory)(error))
        }
        _ => Ok(()),
    }
}

fn ensure_mounted(bpf_fs: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(bpf_fs).map_err(failed("make the mount point", bpf_fs))?;
    let stat = statfs(bpf_fs)
        .map_err(|error| failed("look at the file system of", bpf_fs)(error.into()))?;
    if stat.f_type == BPF_FS_MAGIC {
        return Ok(());
    }
    info!(path = %bpf_fs.display(), "mounting the BPF file system");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", bpf_fs, "bpf", flags, None).map_err(|error| KernelError::Syscall {
        call: "mount",
        object: format!("the BPF file system at {}", bpf_fs.display()),
        mend: "; mount it (`mount -t bpf bpf PATH`), or name where it is with --bpf-fs",
        source: error.into(),
    })
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> KernelError {
    const MEND: &str = "; --bpf-fs names the BPF file system";
    move |source| KernelError::File { what, path: path.to_owned(), mend: MEND, source }
}
