//! Pinned links: a program stays attached through the agent's end, and changes hands without a gap.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use tracing::warn;

use super::bpf::{self, Target};
use super::{KernelError, mend};

/// Puts `program` into the link that is pinned at `pin`; false where there is none on `target`. A link
/// whose target is gone, or is another, is removed: it holds nothing that packets pass through.
pub(super) fn take_up(
    program: BorrowedFd<'_>,
    target: Target,
    pin: &Path,
) -> Result<bool, KernelError> {
    let failed = |call, source: io::Error| failed(call, pin, source);
    let link = match bpf::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|error| failed("BPF_OBJ_GET", error))?,
    };
    let attached_to =
        bpf::target_of(link.as_fd()).map_err(|error| failed("BPF_OBJ_GET_INFO_BY_FD", error))?;
    if attached_to != Some(target) {
        fs::remove_file(pin).map_err(|error| failed("unlink", error))?;
        return Ok(false);
    }
    bpf::update_link(link.as_fd(), program).map_err(|error| failed("BPF_LINK_UPDATE", error))?;
    Ok(true)
}

/// Whether the link pinned at `pin` is still on `target`.
pub(super) fn is_on(target: Target, pin: &Path) -> bool {
    let attached_to = bpf::open_pin(pin).and_then(|link| bpf::target_of(link.as_fd()));
    attached_to.is_ok_and(|attached_to| attached_to == Some(target))
}

/// Where the link pinned at `pin` stands on the way out of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not on it.
    Nowhere,
    /// Behind another program, which may end the chain.
    Behind,
    /// Before all others.
    First,
}

/// Where the link pinned at `pin` stands among those on the way out of `interface`.
pub(super) fn place_on(interface: u32, pin: &Path) -> Result<Place, KernelError> {
    let failed = |call, source: io::Error| failed(call, pin, source);
    let link = match bpf::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::Nowhere),
        opened => opened.map_err(|error| failed("BPF_OBJ_GET", error))?,
    };
    let info = |error| failed("BPF_OBJ_GET_INFO_BY_FD", error);
    if bpf::target_of(link.as_fd()).map_err(info)? != Some(Target::Interface(interface)) {
        return Ok(Place::Nowhere);
    }
    let own = bpf::id_of(link.as_fd()).map_err(info)?;
    let first = bpf::first_on_egress(interface).map_err(|error| failed("BPF_PROG_QUERY", error))?;
    Ok(if first == Some(own) { Place::First } else { Place::Behind })
}

/// Pins a link in place of the one at `pin`, which lets go of its hook then and no sooner.
pub(super) fn pin_over(link: FdLink, pin: &Path) -> Result<(), KernelError> {
    let mut beside = pin.as_os_str().to_owned();
    beside.push("-next");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        // Left by an agent that was killed right here.
        remove(&beside);
    }
    self::pin(link, &beside)?;
    fs::rename(&beside, pin).map_err(|error| failed("rename", &beside, error))
}

fn failed(call: &'static str, pin: &Path, source: io::Error) -> KernelError {
    KernelError::Syscall {
        call,
        object: pin.display().to_string(),
        mend: "; `podrole detach` removes all of podrole's pins",
        source,
    }
}

/// Makes a link outlive the agent.
pub(super) fn pin(link: FdLink, pin: &Path) -> Result<(), KernelError> {
    link.pin(pin).map(|_| ()).map_err(|error| KernelError::Syscall {
        call: "BPF_OBJ_PIN",
        object: pin.display().to_string(),
        mend: mend(&error),
        source: io::Error::other(error),
    })
}

/// Detaches the link pinned at `pin` and removes the pin; nothing there is no error. Without the first
/// the kernel would detach it too, but some time after.
pub(super) fn detach(pin: &Path) -> Result<(), KernelError> {
    let failed = |call, source: io::Error| failed(call, pin, source);
    let link = match bpf::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(|error| failed("BPF_OBJ_GET", error))?,
    };
    // One whose cgroup or interface is gone holds nothing.
    let _ = bpf::detach_link(link.as_fd());
    fs::remove_file(pin).map_err(|error| failed("unlink", error))
}

pub(super) fn remove(pin: &Path) {
    if let Err(error) = fs::remove_file(pin) {
        warn!(pin = %pin.display(), %error, "cannot remove a pin; `podrole detach` removes all");
    }
}
