//! What happened, counted for the agent to read.

use aya_ebpf::btf_maps::{HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use podrole_ebpf::Event;

#[btf_map]
static EVENTS: PerCpuArray<u64, { Event::ALL.len() * 2 }> = PerCpuArray::new();

/// One of docker0 on every node would be many; more than these are counted in `EVENTS` alone.
const INTERFACES: usize = 1024;

#[btf_map]
static FORWARDED: HashMap<u32, u64, INTERFACES> = HashMap::new();

#[inline(always)]
pub(crate) fn count(event: Event) {
    count_at(event as u32);
}

/// Counts what would have been done to a pod that is in audit.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are a few")]
pub(crate) fn count_audited(event: Event) {
    count_at(Event::ALL.len() as u32 + event as u32);
}

#[inline(always)]
fn count_at(index: u32) {
    if let Some(count) = EVENTS.get_ptr_mut(index) {
        // SAFETY: the slot is this CPU's own, and programs are not interrupted by themselves.
        unsafe { *count += 1 };
    }
}

/// Counts a packet that came in by an interface and was dropped on the way out.
pub(crate) fn count_forwarded(interface: u32) {
    count(Event::ForwardDropped);
    match FORWARDED.get_ptr_mut(interface) {
        // SAFETY: the value is live while the program runs; two CPUs at once may lose one count.
        Some(count) => unsafe { *count += 1 },
        None => {
            // A full map counts no further interface.
            let _ = FORWARDED.insert(interface, 1, 0);
        }
    }
}
