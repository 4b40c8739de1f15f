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
    /// By what the forward guard is on interfaces; none where the kernel has no hook for it.
    pub hook: Option<&'static str>,
    /// The interfaces that it is on.
    pub interfaces: Vec<String>,
    /// Whether it stands before every other program there.
    pub is_first: bool,
    /// Whether nobody is sent to the proxy's port, since somebody else answers there.
    pub refusing: bool,
}

impl Standing {
    /// The programs that are on the pods' cgroup.
    pub const ON_PODS: &'static [&'static str] = &CGROUP_PROGRAMS;
    /// The one that is on interfaces.
    pub const ON_INTERFACES: &'static str = FORWARD_PROGRAM;

    /// Whether the forward guard stands first on the interfaces; it does not where there is no hook for it.
    #[must_use]
    pub fn is_on_interfaces(&self) -> bool {
        self.hook.is_some() && !self.interfaces.is_empty() && self.is_first
    }

    /// Whether all programs are where they belong, as far as the kernel has a hook for them.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.on_pods && (self.hook.is_none() || self.is_on_interfaces())
    }
}
