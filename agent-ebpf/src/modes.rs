//! Which pods are left alone: the map that every program asks before it acts.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id};
use aya_ebpf::macros::btf_map;
use podrole_ebpf::{MODES_MAX, PodMode};

use crate::settings::PODS_LEVEL;

#[btf_map]
static MODES: HashMap<u64, PodMode, MODES_MAX> = HashMap::new();

/// kubelet puts a guaranteed pod's cgroup right below the pods' cgroup, any other's one deeper, below
/// the cgroup of its class.
const DEPTHS: [u32; 2] = [2, 1];

/// Whether nobody is to be sent to the proxy.
pub(crate) fn is_proxy_taken() -> bool {
    const NODE: u64 = 0;
    // SAFETY: the agent writes an entry whole.
    unsafe { MODES.get(NODE) }.is_some_and(|mode| mode.mode == PodMode::REFUSE)
}

/// Whether the pod that the current task is in is left alone.
#[inline(always)]
pub(crate) fn is_task_exempt() -> bool {
    // SAFETY: the helper reads the current task only.
    is_exempt(|level| unsafe { bpf_get_current_ancestor_cgroup_id(level) })
}

/// Whether the pod whose socket sends the packet is left alone.
#[inline(always)]
pub(crate) fn is_sender_exempt(skb: *mut __sk_buff) -> bool {
    // SAFETY: `skb` is the program's own context.
    is_exempt(|level| unsafe { bpf_skb_ancestor_cgroup_id(skb, level) })
}

#[inline(always)]
fn is_exempt(ancestor: impl Fn(i32) -> u64) -> bool {
    DEPTHS.iter().any(|depth| {
        let id = ancestor((PODS_LEVEL.load() + depth).cast_signed());
        // SAFETY: the agent writes an entry whole; a reader sees the one before or the one after.
        unsafe { MODES.get(id) }.is_some_and(|mode| mode.mode == PodMode::EXEMPT)
    })
}
