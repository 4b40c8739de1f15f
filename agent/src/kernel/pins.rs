//! Pinned links: a program stays attached through the agent's end, and changes hands without a gap.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError};
use tracing::warn;

use super::{KernelError, PodCgroup, bpf, mend};

/// How a program came to be attached.
pub(super) enum Attached {
    /// By a link that stood there already.
    Updated,
    /// By a new link, pinned at this path.
    Made(PathBuf),
}

/// Attaches `program` to the cgroup by the link pinned at `pin`, or by a new one pinned there.
pub(super) fn attach(
    program: &mut CgroupSockAddr,
    name: &'static str,
    cgroup: &PodCgroup,
    pin: &Path,
) -> Result<Attached, KernelError> {
    if take_up(program, name, cgroup, pin)? {
        return Ok(Attached::Updated);
    }
    // Links take no flags, and always leave room for other programs; any other mode is EINVAL.
    let link = program
        .attach(cgroup.directory(), CgroupAttachMode::Single)
        .and_then(|id| program.take_link(id))
        .map_err(refused(name))?;
    let link = FdLink::try_from(link).map_err(|_| too_old(name))?;
    link.pin(pin).map_err(|error| KernelError::Syscall {
        call: "BPF_OBJ_PIN",
        object: pin.display().to_string(),
        mend: mend(&error),
        source: io::Error::other(error),
    })?;
    Ok(Attached::Made(pin.to_owned()))
}

pub(super) fn remove(pin: &Path) {
    if let Err(error) = fs::remove_file(pin) {
        warn!(pin = %pin.display(), %error, "cannot remove a pin; `podrole detach` removes all");
    }
}

/// Whether a link was there and now has our program. One whose cgroup was removed, or is another, is
/// removed: it holds nothing that pods pass through.
fn take_up(
    program: &CgroupSockAddr,
    name: &'static str,
    cgroup: &PodCgroup,
    pin: &Path,
) -> Result<bool, KernelError> {
    let failed = |call, source: io::Error| KernelError::Syscall {
        call,
        object: pin.display().to_string(),
        mend: "; `podrole detach` removes all of podrole's pins",
        source,
    };
    let link = match bpf::open_pin(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|error| failed("BPF_OBJ_GET", error))?,
    };
    let attached_to =
        bpf::cgroup_of(link.as_fd()).map_err(|error| failed("BPF_OBJ_GET_INFO_BY_FD", error))?;
    if attached_to != cgroup.id() {
        fs::remove_file(pin).map_err(|error| failed("unlink", error))?;
        return Ok(false);
    }
    let program = program.fd().map_err(refused(name))?;
    bpf::update_link(link.as_fd(), program.as_fd())
        .map_err(|error| failed("BPF_LINK_UPDATE", error))?;
    Ok(true)
}

fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError {
    move |source| KernelError::Program { program, mend: mend(&source), source }
}

fn too_old(program: &'static str) -> KernelError {
    KernelError::Syscall {
        call: "BPF_LINK_CREATE",
        object: program.into(),
        mend: "; podrole needs Linux 5.10 or newer",
        source: io::ErrorKind::Unsupported.into(),
    }
}
