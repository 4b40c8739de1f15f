//! The directory in the BPF file system where links are pinned, so that they outlive the agent.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use podrole_ebpf::{CGROUP_PROGRAMS, FORWARD_PROGRAM};
use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};
use tracing::{info, warn};

use super::{KernelError, bpf};
use crate::operate::privileges;

/// `BPF_FS_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// `<bpf-fs>/podrole/v<ABI>`. Only root may enter: on new kernels, access to a pinned file is all it
/// takes to attach or change what it names.
///
/// Until it is kept, one that was not there before is removed again with all that is in
/// it: a start that fails leaves the node as it was.
#[derive(Debug)]
pub struct PinDirectory {
    path: PathBuf,
    provisional: bool,
    /// Where other versions have pinned theirs.
    others: Vec<PathBuf>,
}

impl PinDirectory {
    /// The directory below the BPF file system at `bpf_fs`, which is mounted if it is not there.
    ///
    /// # Errors
    /// What could not be mounted or made.
    pub fn create(bpf_fs: &Path) -> Result<Self, KernelError> {
        ensure_mounted(bpf_fs)?;
        let others = other_versions(bpf_fs);
        let path = own_version(bpf_fs);
        let provisional = !path.exists();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(failed("make", &path))?;
        Ok(Self { path, provisional, others })
    }

    /// Makes sure that no other version has pinned anything: what belongs to an agent that may live is
    /// an agent's to take up.
    ///
    /// # Errors
    /// Where one has.
    pub fn is_only(bpf_fs: &Path) -> Result<(), KernelError> {
        let other = other_versions(bpf_fs).into_iter().next();
        other.map_or(Ok(()), |directory| Err(KernelError::OtherVersion { directory }))
    }

    /// Gives the links of other versions a name here too, so that they can be taken up as this version's
    /// own. Their old names stay: an agent of that version may go on with them.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) fn adopt(&self) -> Result<(), KernelError> {
        for pin in self.others.iter().flat_map(|other| entries(other)) {
            let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let own = self.pin(name);
            if !is_link(name) || own.exists() {
                continue;
            }
            // One that cannot be opened, or holds nothing, is nothing to be taken up.
            let Ok(link) = bpf::open_pin(&pin) else { continue };
            if bpf::target_of(link.as_fd()).is_ok_and(|target| target.is_some()) {
                bpf::pin(link.as_fd(), &own).map_err(failed("pin", &own))?;
                info!(from = %pin.display(), "a link of another version is taken up");
            }
        }
        Ok(())
    }

    /// Where other versions have pinned theirs.
    #[must_use]
    pub fn others(&self) -> &[PathBuf] {
        &self.others
    }

    /// From now on it outlives this process.
    pub(super) fn keep(&mut self) {
        self.provisional = false;
    }

    /// The path of one pin.
    #[must_use]
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether no agent was here before.
    pub(super) fn is_first(&self) -> bool {
        self.provisional && self.others.is_empty()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is pinned in it.
    pub(super) fn entries(&self) -> Vec<PathBuf> {
        entries(&self.path)
    }

    /// Which BPF file system it is in; none where none is mounted.
    pub(super) fn device(&self) -> Option<u64> {
        let bpf_fs = self.bpf_fs();
        is_mounted(bpf_fs).then(|| fs::metadata(bpf_fs).ok().map(|about| about.dev())).flatten()
    }

    /// Makes it again where the file system that it was in is gone, which is mounted where it is not.
    pub(super) fn make_again(&self) -> Result<(), KernelError> {
        ensure_mounted(self.bpf_fs())?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(failed("make", &self.path))
    }

    /// `<bpf-fs>` of `<bpf-fs>/podrole/v<ABI>`.
    fn bpf_fs(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(&self.path)
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        if self.provisional
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(path = %self.path.display(), %error, "cannot remove the pins of this start");
        }
    }
}

/// Removes what other versions had pinned; the links that were taken up have a name of their own.
pub fn remove_versions(directories: &[PathBuf]) {
    for directory in directories {
        match fs::remove_dir_all(directory) {
            Ok(()) => info!(directory = %directory.display(), "another version's pins are removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(directory = %directory.display(), %error, "cannot remove another version's pins; the next start tries again");
            }
        }
    }
}

fn own_version(bpf_fs: &Path) -> PathBuf {
    bpf_fs.join("podrole").join(format!("v{}", podrole_ebpf::ABI))
}

fn other_versions(bpf_fs: &Path) -> Vec<PathBuf> {
    let own = own_version(bpf_fs);
    let mut others = entries(&bpf_fs.join("podrole"));
    others.retain(|version| *version != own);
    others
}

/// Whether a pin of this name is a link.
fn is_link(name: &str) -> bool {
    let interface = name.strip_prefix(FORWARD_PROGRAM).and_then(|rest| rest.strip_prefix('-'));
    CGROUP_PROGRAMS.contains(&name) || interface.is_some_and(|index| index.parse::<u32>().is_ok())
}

/// Removes every pin of podrole, of any version, and detaches what they held. The kernel would detach
/// a link without its pin too, but some time after.
///
/// # Errors
/// What could not be removed. Nothing there is no error.
pub fn remove_all_pins(bpf_fs: &Path) -> Result<(), KernelError> {
    let directory = bpf_fs.join("podrole");
    for pin in pins_below(&directory) {
        if let Ok(pinned) = bpf::open_pin(&pin) {
            // Maps are no links, and links of older versions may be of a kind that cannot; both are
            // gone with their pins.
            let _ = bpf::detach_link(pinned.as_fd());
        }
    }
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &directory)(error))
        }
        _ => Ok(()),
    }
}

fn pins_below(directory: &Path) -> Vec<PathBuf> {
    entries(directory).iter().flat_map(|version| entries(version)).collect()
}

/// What is in a directory; nothing, where it is not there.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).collect()
}

/// Whether the BPF file system is mounted there.
#[must_use]
pub fn is_mounted(bpf_fs: &Path) -> bool {
    statfs(bpf_fs).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC)
}

/// Mounts the BPF file system where it is not.
///
/// # Errors
/// Where it cannot be mounted.
pub fn ensure_mounted(bpf_fs: &Path) -> Result<(), KernelError> {
    fs::create_dir_all(bpf_fs).map_err(failed("make the mount point", bpf_fs))?;
    let stat = statfs(bpf_fs)
        .map_err(|error| failed("look at the file system of", bpf_fs)(error.into()))?;
    if stat.f_type == BPF_FS_MAGIC {
        return Ok(());
    }
    info!(path = %bpf_fs.display(), "mounting the BPF file system");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = privileges::mounting(|| mount("bpf", bpf_fs, "bpf", flags, None));
    mounted.map_err(|error| KernelError::Syscall {
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
