//! The hook of the forward guard, by the age of the kernel, and what is lost where there is none.

use std::fmt;
use std::str::FromStr;

use aya::util::KernelVersion;

/// A hook that podrole can do without, where an operator says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The way out of interfaces, for the forward guard.
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

/// How the forward guard gets onto the way out of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardHook {
    /// A link (kernel commit e420bed02507, "bpf: Add fd-based tcx multi-prog infra").
    Tcx,
    /// A filter of the queueing discipline `clsact`.
    Clsact,
}

impl ForwardHook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcx, Self::Clsact];

    /// As `--forward-hook` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    /// The better one of those that a kernel has.
    fn of(kernel: KernelVersion) -> Self {
        if kernel >= KernelVersion::new(6, 6, 0) { Self::Tcx } else { Self::Clsact }
    }
}

impl FromStr for ForwardHook {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|hook| hook.name() == name).ok_or(())
    }
}

/// The hooks that are used, and those that may turn out to be missing.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    pub(super) forward: ForwardHook,
    pub(super) may_lack_forward: bool,
}

impl Hooks {
    /// Those of the running kernel, unless one is `chosen`; `may_lack` says which may be missing.
    #[must_use]
    pub fn of_running(chosen: Option<ForwardHook>, may_lack: &[Hook]) -> Self {
        // A kernel that does not tell its version counts as too old, as everywhere.
        let running = KernelVersion::current().unwrap_or(KernelVersion::new(0, 0, 0));
        let forward = chosen.unwrap_or_else(|| ForwardHook::of(running));
        Self { forward, may_lack_forward: may_lack.contains(&Hook::Forward) }
    }

    /// By what the forward guard is to be on interfaces.
    #[must_use]
    pub fn forward(self) -> ForwardHook {
        self.forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_with_tcx_use_it_and_older_ones_filters() {
        let of = |major, minor, patch| ForwardHook::of(KernelVersion::new(major, minor, patch));
        assert_eq!(of(5, 10, 0), ForwardHook::Clsact);
        assert_eq!(of(6, 5, 13), ForwardHook::Clsact);
        assert_eq!(of(6, 6, 0), ForwardHook::Tcx);
        assert_eq!(of(6, 18, 0), ForwardHook::Tcx);
        assert_eq!(of(0, 0, 0), ForwardHook::Clsact, "one that does not tell");
    }

    #[test]
    fn what_is_chosen_goes_before_what_the_kernel_has() {
        for hook in ForwardHook::ALL {
            assert_eq!(Hooks::of_running(Some(hook), &[]).forward, hook);
        }
    }

    #[test]
    fn only_what_is_named_may_be_missing() {
        assert!(!Hooks::of_running(None, &[]).may_lack_forward);
        assert!(Hooks::of_running(None, &[Hook::Forward]).may_lack_forward);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for hook in Hook::ALL {
            assert_eq!(hook.name().parse(), Ok(hook));
        }
        for hook in ForwardHook::ALL {
            assert_eq!(hook.name().parse(), Ok(hook));
        }
        assert_eq!("connect".parse::<Hook>(), Err(()));
        assert_eq!("xdp".parse::<ForwardHook>(), Err(()));
    }
}
