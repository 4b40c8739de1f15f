//! The forward guard by pinned tcx links, from Linux 6.6.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{TcAttachOptions, TcError};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use podrole_ebpf::FORWARD_PROGRAM;
use tracing::{debug, info, warn};

use super::bpf::Target;
use super::interfaces::Interfaces;
use super::loader::refused;
use super::pins::{self, Place};
use super::{KernelError, PinDirectory};
use crate::report::Chain;

/// The links that are pinned, by the interface's index.
#[derive(Debug, Default)]
pub(super) struct Tcx {
    guarded: BTreeMap<u32, PathBuf>,
}

impl Tcx {
    /// Links the program first to each interface, and to no other.
    pub(super) fn guard(
        &mut self,
        program: &mut SchedClassifier,
        directory: &PinDirectory,
        interfaces: &Interfaces,
        fresh: bool,
    ) -> Result<(), KernelError> {
        let mut guarded = BTreeMap::new();
        let mut failed = None;
        for (index, name) in interfaces {
            let pin = directory.pin(&format!("{FORWARD_PROGRAM}-{index}"));
            match guard_one(program, *index, name, &pin, fresh) {
                Err(error) if error.is_of_gone_interface() => continue,
                // One that refuses leaves no other open.
                Err(error) => failed = failed.or(Some(error)),
                Ok(()) => {}
            }
            guarded.insert(*index, pin);
        }
        self.guarded = guarded;
        self.remove_others(directory);
        failed.map_or(Ok(()), Err)
    }

    /// Whether every link is first on its interface.
    pub(super) fn stands(&self) -> bool {
        let first = |(index, pin): (&u32, &PathBuf)| {
            matches!(pins::place_on(*index, pin), Ok(Place::First))
        };
        self.guarded.iter().all(first)
    }

    fn remove_others(&self, directory: &PinDirectory) {
        let Ok(pins) = fs::read_dir(directory.path()) else { return };
        let guarded: BTreeSet<&Path> = self.guarded.values().map(PathBuf::as_path).collect();
        let is_forward = |pin: &PathBuf| {
            let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix(FORWARD_PROGRAM).is_some_and(|rest| rest.starts_with('-'))
        };
        let pins = pins.filter_map(Result::ok).map(|entry| entry.path());
        for pin in pins.filter(is_forward).filter(|pin| !guarded.contains(pin.as_path())) {
            if let Err(error) = pins::detach(&pin) {
                warn!(error = %Chain(&error), "a forward guard cannot be removed");
            }
        }
    }
}

fn guard_one(
    program: &mut SchedClassifier,
    index: u32,
    interface: &str,
    pin: &Path,
    fresh: bool,
) -> Result<(), KernelError> {
    let mut place = pins::place_on(index, pin)?;
    if fresh && place != Place::Nowhere {
        let program = program.fd().map_err(refused(FORWARD_PROGRAM))?;
        if pins::take_up(program.as_fd(), Target::Interface(index), pin)? {
            debug!(interface, "forward guard taken up");
        } else {
            place = Place::Nowhere;
        }
    }
    match place {
        Place::First => {}
        Place::Nowhere => {
            pins::pin_over(attach_first(program, interface)?, pin)?;
            info!(interface, "forward guard attached");
        }
        Place::Behind => {
            renew(program)?;
            pins::pin_over(attach_first(program, interface)?, pin)?;
            warn!(
                interface,
                "another program had been put before the forward guard, which is first again"
            );
        }
    }
    Ok(())
}

/// Loads the program once more: the kernel takes one program only once on each interface
/// (`bpf_mprog_attach`), and the new one must be there before the old one goes. Links that hold the
/// old one keep it.
fn renew(program: &mut SchedClassifier) -> Result<(), KernelError> {
    program.unload().and_then(|()| program.load()).map_err(refused(FORWARD_PROGRAM))
}

fn attach_first(program: &mut SchedClassifier, interface: &str) -> Result<FdLink, KernelError> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(interface, TcAttachType::Egress, first)
        .and_then(|id| program.take_link(id))
        .map_err(|error| not_attached(interface, error))?;
    FdLink::try_from(link).map_err(|_| KernelError::NoLinks)
}

/// aya hides that an interface is gone; whoever asks looks for the kernel's own answer.
fn not_attached(interface: &str, error: ProgramError) -> KernelError {
    match error {
        ProgramError::TcError(TcError::IoError(source)) => KernelError::Syscall {
            call: "if_nametoindex",
            object: format!("the interface {interface}"),
            mend: "",
            source,
        },
        error => refused(FORWARD_PROGRAM)(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_interface_that_went_while_it_was_attached_to_is_told_from_a_refusal() {
        let failed = |code| TcError::IoError(io::Error::from_raw_os_error(code)).into();
        assert!(not_attached("eni1", failed(libc::ENODEV)).is_of_gone_interface());
        assert!(!not_attached("eni1", failed(libc::EPERM)).is_of_gone_interface());
    }
}
