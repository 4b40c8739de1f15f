//! The forward guard: the program on the way out of every interface that is no pod's, before every
//! other program there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{TcAttachOptions, TcError};
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType};
use podrole_ebpf::{FORWARD_PROGRAM, map};
use tracing::{debug, info, warn};

use super::bpf::Target;
use super::hooks::Hooks;
use super::interfaces::{Interfaces, Watch};
use super::loader::{self, Rules, refused};
use super::maps::{self, ExemptInterfaces};
use super::pins::{self, Place};
use super::{KernelError, PinDirectory};

/// The forward guard, loaded, and where its links are pinned.
pub struct ForwardGuard {
    pub(super) ebpf: Ebpf,
    pub(super) directory: PinDirectory,
    exempt: ExemptInterfaces,
    hooks: Hooks,
    guarded: BTreeMap<u32, PathBuf>,
}

impl ForwardGuard {
    /// Loads it alone, before there are pods.
    ///
    /// # Errors
    /// What the kernel refused, and what may help.
    pub fn load(rules: &Rules, hooks: Hooks, pins: PinDirectory) -> Result<Self, KernelError> {
        // How deep the pods' cgroup lies matters to its own programs only.
        let ebpf = loader::open(rules, 0, &pins)?;
        Self::verify(ebpf, hooks, pins)
    }

    /// Has the kernel verify it.
    pub(super) fn verify(
        mut ebpf: Ebpf,
        hooks: Hooks,
        directory: PinDirectory,
    ) -> Result<Self, KernelError> {
        if hooks.has_forward() {
            program(&mut ebpf)?.load().map_err(refused(FORWARD_PROGRAM))?;
        }
        let exempt = ExemptInterfaces::new(maps::open(&mut ebpf, map::EXEMPT_INTERFACES)?);
        Ok(Self { ebpf, directory, exempt, hooks, guarded: BTreeMap::new() })
    }

    /// The hooks of this kernel.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// From now on what it has pinned outlives this process, whatever becomes of it.
    pub fn keep(&mut self) {
        self.directory.keep();
    }

    /// Puts it on each interface that is guarded now, and takes it from all others. `fresh` also puts
    /// the program of this process into links that stand already.
    ///
    /// # Errors
    /// What the kernel refused. An interface that has just gone is no error.
    pub async fn follow(&mut self, interfaces: &Watch, fresh: bool) -> Result<(), KernelError> {
        if !self.hooks.has_forward() {
            return Ok(());
        }
        self.exempt.set(&interfaces.exempt().await?)?;
        self.guard(&interfaces.guarded().await?, fresh)
    }

    /// Whether it still stands first wherever it was put: a program before it that accepts a packet
    /// would end the chain.
    #[must_use]
    pub fn stands(&self) -> bool {
        let first = |(index, pin): (&u32, &PathBuf)| {
            matches!(pins::place_on(*index, pin), Ok(Place::First))
        };
        self.guarded.iter().all(first)
    }

    fn guard(&mut self, interfaces: &Interfaces, fresh: bool) -> Result<(), KernelError> {
        let mut guarded = BTreeMap::new();
        for (index, name) in interfaces {
            let pin = self.directory.pin(&format!("{FORWARD_PROGRAM}-{index}"));
            match self.guard_one(*index, name, &pin, fresh) {
                Ok(()) => guarded.insert(*index, pin),
                Err(error) if error.is_of_gone_interface() => continue,
                Err(error) => return Err(error),
            };
        }
        self.guarded = guarded;
        self.remove_others();
        Ok(())
    }

    fn guard_one(
        &mut self,
        index: u32,
        interface: &str,
        pin: &Path,
        fresh: bool,
    ) -> Result<(), KernelError> {
        let mut place = pins::place_on(index, pin)?;
        if fresh && place != Place::Nowhere {
            let program = program(&mut self.ebpf)?.fd().map_err(refused(FORWARD_PROGRAM))?;
            if pins::take_up(program.as_fd(), Target::Interface(index), pin)? {
                debug!(interface, "forward guard taken up");
            } else {
                place = Place::Nowhere;
            }
        }
        match place {
            Place::First => {}
            Place::Nowhere => {
                pins::pin_over(attach_first(&mut self.ebpf, interface)?, pin)?;
                info!(interface, "forward guard attached");
            }
            Place::Behind => {
                renew(&mut self.ebpf)?;
                pins::pin_over(attach_first(&mut self.ebpf, interface)?, pin)?;
                warn!(
                    interface,
                    "another program had been put before the forward guard, which is first again"
                );
            }
        }
        Ok(())
    }

    fn remove_others(&self) {
        let Ok(pins) = fs::read_dir(self.directory.path()) else { return };
        let guarded: BTreeSet<&Path> = self.guarded.values().map(PathBuf::as_path).collect();
        let is_forward = |pin: &PathBuf| {
            let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix(FORWARD_PROGRAM).is_some_and(|rest| rest.starts_with('-'))
        };
        let pins = pins.filter_map(Result::ok).map(|entry| entry.path());
        for pin in pins.filter(is_forward).filter(|pin| !guarded.contains(pin.as_path())) {
            pins::remove(&pin);
        }
    }
}

/// Loads the program once more: the kernel takes one program only once on each interface
/// (`bpf_mprog_attach`), and the new one must be there before the old one goes. Links that hold the
/// old one keep it.
fn renew(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let program = program(ebpf)?;
    program.unload().and_then(|()| program.load()).map_err(refused(FORWARD_PROGRAM))
}

fn attach_first(ebpf: &mut Ebpf, interface: &str) -> Result<FdLink, KernelError> {
    let program = program(ebpf)?;
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

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, KernelError> {
    match ebpf.program_mut(FORWARD_PROGRAM) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => Err(KernelError::Missing(FORWARD_PROGRAM)),
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
