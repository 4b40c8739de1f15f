//! Hooks that older kernels lack, and what is lost without them.

use std::fmt;
use std::str::FromStr;

use aya::util::KernelVersion;

use super::KernelError;

/// A hook that podrole can do without, where an operator says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// tcx on the way out of interfaces, for the forward guard.
    Forward,
}

impl Hook {
    /// All, in the order of their names.
    pub const ALL: [Self; 1] = [Self::Forward];

    /// As `--allow-missing-guards` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
        }
    }

    /// The first kernel with it (kernel commit e420bed02507, "bpf: Add fd-based tcx multi-prog infra").
    fn since(self) -> KernelVersion {
        match self {
            Self::Forward => KernelVersion::new(6, 6, 0),
        }
    }

    /// What is no longer guarded without it.
    #[must_use]
    pub fn lost(self) -> &'static str {
        match self {
            Self::Forward => {
                "frames that a pod with CAP_NET_RAW makes by hand, and sockets that were made outside of its cgroup, reach the node's credentials"
            }
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Hook {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|hook| hook.name() == name).ok_or(())
    }
}

/// The hooks of this kernel that are used.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    missing: Option<Hook>,
}

impl Hooks {
    /// Those of the running kernel.
    ///
    /// # Errors
    /// Where it lacks one that is not among those `allowed` to be missing: which, what is lost, and how
    /// to start all the same.
    pub fn of_running(allowed: &[Hook]) -> Result<Self, KernelError> {
        // A kernel that does not tell its version counts as too old, as everywhere.
        let running = KernelVersion::current().unwrap_or(KernelVersion::new(0, 0, 0));
        Self::of(running, allowed)
    }

    fn of(kernel: KernelVersion, allowed: &[Hook]) -> Result<Self, KernelError> {
        let missing = Hook::ALL.into_iter().find(|hook| kernel < hook.since());
        match missing.filter(|hook| !allowed.contains(hook)) {
            None => Ok(Self { missing }),
            Some(hook) => Err(KernelError::NoHook {
                hook,
                kernel: kernel.to_string(),
                since: hook.since().to_string(),
            }),
        }
    }

    /// The hook that this kernel lacks, if it lacks one.
    #[must_use]
    pub fn missing(self) -> Option<Hook> {
        self.missing
    }

    pub(super) fn has_forward(self) -> bool {
        self.missing != Some(Hook::Forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_every_hook_needs_no_permission() {
        let hooks = Hooks::of(KernelVersion::new(6, 6, 0), &[]).unwrap();
        assert_eq!(hooks.missing(), None);
        assert!(hooks.has_forward());
    }

    #[test]
    fn a_missing_hook_is_refused_with_what_is_lost_and_how_to_go_on() {
        let error = Hooks::of(KernelVersion::new(6, 5, 13), &[]).unwrap_err().to_string();
        for word in ["6.5.13", "forward", "6.6.0", "CAP_NET_RAW", "--allow-missing-guards forward"]
        {
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
    }

    #[test]
    fn a_missing_hook_that_is_named_is_done_without() {
        let hooks = Hooks::of(KernelVersion::new(5, 15, 0), &[Hook::Forward]).unwrap();
        assert_eq!(hooks.missing(), Some(Hook::Forward));
        assert!(!hooks.has_forward());
    }

    #[test]
    fn permission_takes_nothing_away_from_a_kernel_that_has_it_all() {
        let hooks = Hooks::of(KernelVersion::new(6, 12, 0), &[Hook::Forward]).unwrap();
        assert!(hooks.has_forward());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for hook in Hook::ALL {
            assert_eq!(hook.name().parse(), Ok(hook));
        }
        assert_eq!("connect".parse::<Hook>(), Err(()));
    }
}
