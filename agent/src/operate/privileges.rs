//! What the agent may do of all that root may: as little as it needs. Given up before there is a second
//! thread, so that no thread keeps what the others have given up.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// `CAP_BPF`: the programs and their maps. `CAP_NET_ADMIN`: programs that see packets, interfaces that come
/// later, and the reserved ports. `CAP_DAC_READ_SEARCH`: where the cgroup of an id lies
/// (`open_by_handle_at`), and the tokens that kubelet keeps for pods that are not root's.
pub const KEPT: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::DAC_READ_SEARCH);

/// For verifiers that take the programs with it only.
pub const PERFMON: CapabilitySet = CapabilitySet::PERFMON;

/// To mount the BPF file system again where it is unmounted: kept, where it was given, and unused until then.
const FOR_MOUNTS: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// Gives up everything but [`KEPT`] and what else this kernel needs, for this process and all that it starts, for
/// ever. Of `CAP_SYS_ADMIN`, which the agent does not need, it keeps the right to take it up for [`mounting`].
///
/// # Errors
/// What the kernel does not take.
pub fn give_up(needed_here: Option<CapabilitySet>) -> io::Result<()> {
    let kept = KEPT | needed_here.unwrap_or(CapabilitySet::empty());
    // Before Linux 5.11 maps count against it. Without the right to raise it they may still fit.
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = setrlimit(Resource::Memlock, unlimited);
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().iter().filter(|it| !kept.union(FOR_MOUNTS).contains(*it))
    {
        // One that this kernel does not know is in no set. Without CAP_SETPCAP the set stays as it is, and
        // no_new_privs sees to it that nothing comes of it.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let had = capabilities(None)?.permitted;
    let sets = CapabilitySets {
        effective: had & kept,
        permitted: had & (kept | FOR_MOUNTS),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// Mounts something, by the right that is kept for it, if it was given.
pub fn mounting<T>(mount: impl FnOnce() -> T) -> T {
    let before = capabilities(None).ok();
    if let Some(sets) = before {
        let effective = sets.effective | (sets.permitted & FOR_MOUNTS);
        // Without it the mount says what is missing.
        let _ = set_capabilities(None, CapabilitySets { effective, ..sets });
    }
    let mounted = mount();
    if let Some(sets) = before {
        // What was effective before is permitted.
        let _ = set_capabilities(None, sets);
    }
    mounted
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::thread::no_new_privs;

    use super::*;

    #[test]
    fn what_is_given_up_is_gone_for_good() {
        // Capabilities are a thread's own.
        let given_up = thread::spawn(|| {
            give_up(None).unwrap();
            let left = capabilities(None).unwrap();
            assert!(KEPT.union(FOR_MOUNTS).contains(left.permitted));
            assert!(KEPT.contains(left.effective) && left.inheritable.is_empty());
            mounting(|| assert!(left.permitted.contains(capabilities(None).unwrap().effective)));
            assert_eq!(capabilities(None).unwrap().effective, left.effective);
            assert!(no_new_privs().unwrap());
            let more = CapabilitySets { permitted: CapabilitySet::all(), ..left };
            assert!(set_capabilities(None, more).is_err());
        });
        given_up.join().unwrap();
    }

    #[test]
    fn what_only_this_kernel_needs_is_kept_if_it_was_given() {
        let given_up = thread::spawn(|| {
            let had = capabilities(None).unwrap().permitted;
            give_up(Some(PERFMON)).unwrap();
            let left = capabilities(None).unwrap();
            assert_eq!(left.effective, had & (KEPT | PERFMON));
        });
        given_up.join().unwrap();
    }
}
