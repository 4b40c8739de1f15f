//! Where the programs are, for whoever asks: the keeper writes it, nobody else.

use podrole_ebpf::{CGROUP_PROGRAMS, FORWARD_PROGRAM};

/// Where the programs are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether they shall be on the node: not where its mode is off.
    pub wanted: bool,
    /// The cgroup of all pods.
    pub cgroup: String,
    /// Whether all of its programs are on it.
    pub on_pods: bool,
    /// Where the forward guard is; nowhere where the kernel has no hook for it.
    pub forward: Option<Forward>,
    /// Whether nobody is sent to the proxy's port, since somebody else answers there.
    pub refusing: bool,
}

/// Where the forward guard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// By what it is on interfaces.
    pub hook: &'static str,
    /// The interfaces that it is on.
    pub interfaces: Vec<String>,
    /// Whether it stands before every other program there.
    pub is_first: bool,
}

impl Forward {
    /// Whether it stands first on the interfaces.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.interfaces.is_empty() && self.is_first
    }
}

impl Standing {
    /// The programs that are on the pods' cgroup.
    pub const ON_PODS: &'static [&'static str] = &CGROUP_PROGRAMS;
    /// The one that is on interfaces.
    pub const ON_INTERFACES: &'static str = FORWARD_PROGRAM;

    /// Before anything is attached, by a kernel that has this hook for the forward guard.
    #[must_use]
    pub fn nowhere(hook: Option<&'static str>) -> Self {
        let forward = |hook| Forward { hook, interfaces: Vec::new(), is_first: false };
        Self { wanted: true, forward: hook.map(forward), ..Self::default() }
    }

    /// Whether all programs are where they belong, as far as the kernel has a hook for them.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.on_pods && self.forward.as_ref().is_none_or(Forward::holds)
    }
}
