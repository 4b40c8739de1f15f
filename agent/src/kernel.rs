//! The eBPF programs on this node: found, loaded, attached and pinned. The only room that speaks to
//! the kernel's bpf(2), and the only one with `unsafe`.

mod bpf;
pub mod bpffs;
pub mod cgroup_paths;
pub mod cgroups;
pub mod clsact;
pub mod drops;
pub mod forward;
mod held;
pub mod hooks;
pub mod interfaces;
pub mod keeper;
pub mod loader;
pub mod log;
pub mod maps;
pub mod modes;
pub mod netns;
mod pins;
pub mod pod_directories;
pub mod processes;
pub mod records;
pub mod request_lines;
pub mod self_test;
pub mod sockets;
mod standing;
pub mod sysctls;
mod tcx;

pub use self::bpffs::PinDirectory;
pub use self::cgroup_paths::{CgroupPaths, NoPath};
pub use self::cgroups::PodCgroup;
pub use self::drops::Drops;
pub use self::forward::ForwardGuard;
pub use self::hooks::{ForwardHook, Hook, Hooks};
pub use self::interfaces::Interfaces;
pub use self::keeper::{Keeper, NoArrival, Presence};
pub use self::loader::{Loaded, Programs, Rules, needs_perfmon};
pub use self::maps::{CgroupId, Counters};
pub use self::modes::{Doing, Enforced, Entry, HostPod, Modes, Subject};
pub use self::netns::NetnsCookie;
pub use self::pod_directories::PodDirectories;
pub use self::records::{Lost, Records};
pub use self::request_lines::RequestLines;
pub use self::standing::Standing;

use std::io;
use std::path::PathBuf;

/// What went wrong between podrole and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The binary has no programs in it.
    #[error("this binary was built without its eBPF programs; build it with `cargo xtask build`")]
    NoPrograms,
    /// cgroup2 is mounted nowhere.
    #[error(
        "no cgroup2 file system is mounted; podrole needs one (hybrid layouts work, a node with cgroup v1 alone does not)"
    )]
    NoCgroup2,
    /// None of kubelet's usual names is there.
    #[error(
        "no cgroup of pods below {mount} (looked for {looked_for}); has kubelet started? If it has another name, give it with --pod-cgroup"
    )]
    NoPodCgroup {
        /// Where cgroup2 is mounted.
        mount: PathBuf,
        /// The names tried.
        looked_for: String,
    },
    /// The directory given is on another file system.
    #[error("{path} is not a cgroup2 directory; give --pod-cgroup the cgroup that holds all pods")]
    NotCgroup2 {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("cannot {what} {path}{mend}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What may help, with its separator, or nothing.
        mend: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A call of bpf(2) or one beside it failed.
    #[error("{call} failed for {object}{mend}")]
    Syscall {
        /// The call.
        call: &'static str,
        /// What it was for.
        object: String,
        /// What may help, with its separator, or nothing.
        mend: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The programs could not be loaded.
    #[error("cannot load the eBPF programs{mend}")]
    Load {
        /// What may help, with its separator, or nothing.
        mend: &'static str,
        /// aya's answer.
        #[source]
        source: aya::EbpfError,
    },
    /// One program was refused.
    #[error("the kernel does not take the eBPF program {program}{mend}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What may help, with its separator, or nothing.
        mend: &'static str,
        /// aya's answer.
        #[source]
        source: aya::programs::ProgramError,
    },
    /// The object lacks a program or map that the contract names.
    #[error("the eBPF object has no {0}; rebuild with `cargo xtask build`")]
    Missing(&'static str),
    /// Something of another make is pinned under a name of ours.
    #[error(
        "{pin} is pinned and is not this version's; `podrole detach` removes all of podrole's pins"
    )]
    ForeignPin {
        /// Where it is pinned.
        pin: PathBuf,
    },
    /// A hook is missing that the operator has not said may be missing.
    #[error(
        "this kernel lacks the hook {hook}: neither tcx (Linux 6.6) nor clsact with BPF filters (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF); without it {lost}; use a kernel with one of them, or start all the same with --allow-missing-guards {hook}",
        lost = hook.lost()
    )]
    NoHook {
        /// Which.
        hook: Hook,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// What is needed for the forward guard does not fit beside another tool's.
    #[error(
        "the interface {interface} has the queueing discipline ingress where the forward guard needs clsact; have the tool that made it use clsact, which does all that ingress does (`tc qdisc show dev {interface}`)"
    )]
    NoRoom {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel has closed the connection that tells of interfaces.
    #[error("the kernel no longer tells of interfaces (netlink); run it again")]
    NetlinkClosed,
    /// Programs of a version are pinned that has another contract with its agent.
    #[error(
        "{directory} holds the pins of a podrole whose programs are of another version; run that one, or remove them by `podrole detach` (pods reach the real metadata service then, until this one runs)"
    )]
    OtherVersion {
        /// Where they are pinned.
        directory: PathBuf,
    },
    /// The kernel attaches programs without links.
    #[error("this kernel has no links for eBPF programs; podrole needs Linux 5.10 or newer")]
    NoLinks,
    /// The hierarchy is seen from inside of a cgroup namespace.
    #[error(
        "{mount} is not the root of the cgroup2 hierarchy but a cgroup namespace's; give podrole the host's (hostPath /sys/fs/cgroup)"
    )]
    NotRoot {
        /// Where it is mounted.
        mount: PathBuf,
    },
}

impl KernelError {
    /// Whether the interface that it was about has gone in the meantime.
    fn is_of_gone_interface(&self) -> bool {
        self.is_one_of(&[libc::ENODEV, libc::ENXIO])
    }

    /// Whether the cgroup that it was about is not there, or no longer (`css_tryget_online_from_dir`
    /// says ENOENT of one that is being removed).
    pub(crate) fn is_of_gone_cgroup(&self) -> bool {
        self.is_one_of(&[libc::ENOENT, libc::ENODEV])
    }

    fn is_one_of(&self, codes: &[i32]) -> bool {
        std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| error.raw_os_error().is_some_and(|code| codes.contains(&code)))
    }
}

/// What EPERM and EACCES from bpf(2) mean for an operator.
const NEEDS_RIGHTS: &str = "; podrole needs to be root with CAP_BPF and CAP_NET_ADMIN";

fn mend(source: &(dyn std::error::Error + 'static)) -> &'static str {
    let denied = std::iter::successors(Some(source), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if denied { NEEDS_RIGHTS } else { "" }
}
