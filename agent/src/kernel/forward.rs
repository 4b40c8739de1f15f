//! The forward guard: the program on the way out of every interface that is no pod's, before every
//! other program there.

use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::{Program, SchedClassifier};
use podrole_ebpf::{FORWARD_PROGRAM, map};
use tracing::warn;

use super::clsact::Clsact;
use super::held::Held;
use super::hooks::{ForwardHook, Hook, Hooks};
use super::interfaces::{Interfaces, Watch};
use super::loader::{self, Rules, refused};
use super::maps::{self, ExemptInterfaces};
use super::tcx::Tcx;
use super::{KernelError, PinDirectory};

/// The forward guard, loaded, and where it is.
pub struct ForwardGuard {
    pub(super) ebpf: Ebpf,
    pub(super) directory: PinDirectory,
    exempt: ExemptInterfaces,
    may_be_missing: bool,
    on: On,
    held: Held,
    /// The interfaces that it was put on last.
    interfaces: Vec<String>,
}

/// By what it is on the interfaces.
enum On {
    Tcx(Tcx),
    Clsact(Clsact),
    /// The kernel has no hook for it.
    Nothing,
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
        program(&mut ebpf)?.load().map_err(refused(FORWARD_PROGRAM))?;
        let exempt = ExemptInterfaces::new(maps::open(&mut ebpf, map::EXEMPT_INTERFACES)?);
        let on = match hooks.forward {
            ForwardHook::Tcx => On::Tcx(Tcx::default()),
            ForwardHook::Clsact => On::Clsact(Clsact::new(!directory.is_first())),
        };
        Ok(Self {
            ebpf,
            directory,
            exempt,
            may_be_missing: hooks.may_lack_forward,
            on,
            held: Held::default(),
            interfaces: Vec::new(),
        })
    }

    /// The hook that this kernel turned out to lack, if it lacks one.
    #[must_use]
    pub fn missing(&self) -> Option<Hook> {
        matches!(self.on, On::Nothing).then_some(Hook::Forward)
    }

    /// Where other versions are pinned.
    #[must_use]
    pub fn other_versions(&self) -> Vec<PathBuf> {
        self.directory.others().to_vec()
    }

    /// By what it is on interfaces, and on which.
    #[must_use]
    pub fn place(&self) -> Option<(ForwardHook, &[String])> {
        let hook = match self.on {
            On::Tcx(_) => ForwardHook::Tcx,
            On::Clsact(_) => ForwardHook::Clsact,
            On::Nothing => return None,
        };
        Some((hook, &self.interfaces))
    }

    /// From now on what it has attached outlives this process, whatever becomes of it.
    pub fn keep(&mut self) {
        self.directory.keep();
        if let On::Clsact(clsact) = &mut self.on {
            clsact.keep();
        }
    }

    /// Holds open what is pinned, and pins it again where the BPF file system is gone, which it says.
    ///
    /// # Errors
    /// What could not be opened, mounted or pinned.
    pub(super) fn hold(&mut self) -> Result<bool, KernelError> {
        self.held.look(&self.directory)
    }

    /// Puts it on each interface that is guarded now, and takes it from all others. `fresh` also puts
    /// the program of this process where one stands already.
    ///
    /// # Errors
    /// What the kernel refused, or that it has no hook, unless it may lack one. An interface that has
    /// just gone is no error.
    pub async fn follow(&mut self, interfaces: &Watch, fresh: bool) -> Result<(), KernelError> {
        if matches!(self.on, On::Nothing) {
            return Ok(());
        }
        self.exempt.set(&interfaces.exempt().await?)?;
        match self.put(interfaces, fresh).await {
            Err(KernelError::NoHook { hook, .. }) if self.may_be_missing => {
                warn!(%hook, "this kernel lacks a hook, as --allow-missing-guards permits: {}", hook.lost());
                self.on = On::Nothing;
                Ok(())
            }
            put => put,
        }
    }

    /// Takes it from every interface.
    ///
    /// # Errors
    /// What the kernel refused.
    pub async fn remove(&mut self, interfaces: &Watch) -> Result<(), KernelError> {
        let program = program(&mut self.ebpf)?;
        let none = Interfaces::new();
        match &mut self.on {
            On::Tcx(tcx) => tcx.guard(program, &self.directory, &none, false),
            On::Clsact(clsact) => clsact.guard(program, interfaces, none, true).await,
            On::Nothing => Ok(()),
        }?;
        self.interfaces.clear();
        Ok(())
    }

    async fn put(&mut self, interfaces: &Watch, fresh: bool) -> Result<(), KernelError> {
        let guarded = interfaces.guarded().await?;
        self.interfaces = guarded.values().cloned().collect();
        let program = program(&mut self.ebpf)?;
        match &mut self.on {
            On::Tcx(tcx) => tcx.guard(program, &self.directory, &guarded, fresh),
            On::Clsact(clsact) => clsact.guard(program, interfaces, guarded, fresh).await,
            On::Nothing => Ok(()),
        }
    }

    /// Whether it still stands first wherever it was put: a program before it that accepts a packet
    /// would end the chain.
    pub async fn stands(&self, interfaces: &Watch) -> bool {
        match &self.on {
            On::Tcx(tcx) => tcx.stands(),
            On::Clsact(clsact) => clsact.stands(interfaces).await,
            On::Nothing => true,
        }
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, KernelError> {
    match ebpf.program_mut(FORWARD_PROGRAM) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => Err(KernelError::Missing(FORWARD_PROGRAM)),
    }
}
