//! Holds open what is pinned, as long as the agent runs: where the BPF file system is unmounted, or another
//! is mounted over it, the programs stay where they are, and everything is pinned again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::bpffs::PinDirectory;
use super::{KernelError, bpf};

/// What is pinned, held open.
#[derive(Debug, Default)]
pub(super) struct Held {
    pins: BTreeMap<PathBuf, Pin>,
    /// The file system that they were found in.
    device: Option<u64>,
}

#[derive(Debug)]
struct Pin {
    /// Of the pin, which is another when a link is pinned over it.
    inode: u64,
    object: OwnedFd,
}

impl Held {
    /// Takes up what is pinned now and lets go of what is not any more; pins all of it again, and says so,
    /// where the file system of the last call is gone.
    ///
    /// # Errors
    /// What could not be opened, mounted or pinned.
    pub(super) fn look(&mut self, directory: &PinDirectory) -> Result<bool, KernelError> {
        let is_gone = self.device.is_some() && directory.device() != self.device;
        if is_gone {
            self.pin_again(directory)?;
        }
        self.take_up(directory)?;
        self.device = directory.device();
        Ok(is_gone)
    }

    fn take_up(&mut self, directory: &PinDirectory) -> Result<(), KernelError> {
        let mut pins = BTreeMap::new();
        for path in directory.entries() {
            // One that goes at this moment is not held.
            let Ok(inode) = path.metadata().map(|about| about.ino()) else { continue };
            let known = self.pins.remove(&path).filter(|pin| pin.inode == inode);
            let pin = match known {
                Some(pin) => Some(pin),
                None => open(&path, inode)?,
            };
            if let Some(pin) = pin {
                pins.insert(path, pin);
            }
        }
        self.pins = pins;
        Ok(())
    }

    fn pin_again(&self, directory: &PinDirectory) -> Result<(), KernelError> {
        directory.make_again()?;
        for (path, pin) in &self.pins {
            match bpf::pin(pin.object.as_fd(), path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed("BPF_OBJ_PIN", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(path: &Path, inode: u64) -> Result<Option<Pin>, KernelError> {
    match bpf::open_pin(path) {
        Ok(object) => Ok(Some(Pin { inode, object })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("BPF_OBJ_GET", path, error)),
    }
}

fn failed(call: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::Syscall { call, object: path.display().to_string(), mend: "", source }
}
