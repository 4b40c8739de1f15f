//! The eBPF programs on this node: found, loaded, attached and pinned. The only room that speaks to
//! the kernel's bpf(2), and the only one with `unsafe`.

mod bpf;
pub mod bpffs;
pub mod cgroups;
pub mod loader;
pub mod log;
pub mod netns;
mod pins;

pub use self::bpffs::PinDirectory;
pub use self::cgroups::PodCgroup;
pub use self::loader::{Programs, Redirect};
pub use self::netns::NetnsCookie;

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
    /// The object lacks a program that the contract names.
    #[error("the eBPF object has no program {0}; rebuild with `cargo xtask build`")]
    Missing(&'static str),
}

/// What EPERM and EACCES from bpf(2) mean for an operator.
const NEEDS_RIGHTS: &str = "; podrole needs to be root with CAP_BPF and CAP_NET_ADMIN";

fn mend(source: &(dyn std::error::Error + 'static)) -> &'static str {
    let denied = std::iter::successors(Some(source), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::PermissionDenied);
    if denied { NEEDS_RIGHTS } else { "" }
}
