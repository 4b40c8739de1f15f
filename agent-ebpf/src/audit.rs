//! Pods in audit: what they ask for is told, and their packets pass.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::btf_maps::{LruHashMap, RingBuf};
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_sk_cgroup_id};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SockAddrContext;
use podrole_ebpf::{LINE_MAX, METADATA_PORT, Numbers, RequestLine};

use crate::modes;
use crate::packet::Packet;

/// As many packets as may be between a pod's socket and the node's interface at once.
const PACKETS: usize = 16_384;
/// As many connections as may be between their `connect` call and their SYN at once.
const CONNECTIONS: usize = 1024;
/// Bytes: some hundred lines. What finds no room is not told.
const ROOM: usize = 64 * 1024;

#[btf_map]
static PASSING: LruHashMap<Numbers, u8, PACKETS> = LruHashMap::new();

#[btf_map]
static LET_GO: LruHashMap<u64, u8, CONNECTIONS> = LruHashMap::new();

#[btf_map]
static REQUEST_LINES: RingBuf<RequestLine, ROOM> = RingBuf::new();

/// What a request may begin with (RFC 9110, section 9). A packet that begins in the middle of a request
/// begins otherwise, so that no header is taken for a line.
const METHODS: [u32; 6] = [
    u32::from_ne_bytes(*b"GET "),
    u32::from_ne_bytes(*b"PUT "),
    u32::from_ne_bytes(*b"HEAD"),
    u32::from_ne_bytes(*b"POST"),
    u32::from_ne_bytes(*b"DELE"),
    u32::from_ne_bytes(*b"OPTI"),
];

/// Remembers a socket whose `connect` was let go: its SYN may leave, although the pod is enforced by then.
#[inline(always)]
pub(crate) fn remember(ctx: &SockAddrContext) {
    // SAFETY: the helper takes the program's own context.
    let socket = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let _ = LET_GO.insert(socket, 1, 0);
}

/// Whether the socket that sends the packet was let go.
#[inline(always)]
pub(crate) fn is_remembered(packet: Packet) -> bool {
    // SAFETY: the helper takes the program's own context.
    let socket = unsafe { bpf_get_socket_cookie(packet.0.cast()) };
    // SAFETY: the value is a byte.
    unsafe { LET_GO.get(socket) }.is_some()
}

/// Has the forward guard let the packet pass, where it does not let everything.
#[inline(always)]
pub(crate) fn let_pass(packet: Packet) {
    if modes::is_wire_audited() {
        return;
    }
    if let Some(numbers) = packet.numbers() {
        let _ = PASSING.insert(numbers, 1, 0);
    }
}

/// Whether a socket of a pod that may has sent this very packet.
#[inline(always)]
pub(crate) fn passes(packet: Packet) -> bool {
    // SAFETY: the value is a byte.
    packet.numbers().is_some_and(|numbers| unsafe { PASSING.get(numbers) }.is_some())
}

/// Tells the agent the request line in the packet, if one begins there.
#[inline(always)]
pub(crate) fn tell(packet: Packet) {
    let Some(tcp) = packet.tcp() else { return };
    let Some(begin) = packet.tcp_payload() else { return };
    let Some(method) = packet.word(begin) else { return };
    if tcp.destination != METADATA_PORT || !METHODS.contains(&method) {
        return;
    }
    let Some(socket) = packet.socket() else { return };
    // SAFETY: `socket` is a whole socket of the kernel's.
    let cgroup = unsafe { bpf_sk_cgroup_id(socket.cast()) };
    let Some(mut room) = REQUEST_LINES.reserve(0) else { return };
    let told: *mut RequestLine = room.as_mut_ptr();
    // SAFETY: the room is a `RequestLine`'s.
    unsafe { (&raw mut (*told).cgroup).write(cgroup) };
    if read_line(packet, begin, told) {
        room.submit(0);
    } else {
        room.discard(0);
    }
}

/// Calls `$call` for each word of the line. Written out: an offset in a register is none that the verifier
/// takes from agents without `CAP_PERFMON`.
macro_rules! for_each_word {
    ($call:expr) => {
        $call(0);
        $call(1);
        $call(2);
        $call(3);
        $call(4);
        $call(5);
        $call(6);
        $call(7);
        $call(8);
        $call(9);
        $call(10);
        $call(11);
    };
}

/// Copies the line and takes away what comes after it.
#[inline(always)]
fn read_line(packet: Packet, begin: u32, told: *mut RequestLine) -> bool {
    /// Of a method, which is there.
    const LEAST: u32 = 4;
    #[expect(clippy::cast_possible_truncation, reason = "it is 96")]
    const MOST: u32 = LINE_MAX as u32;
    for_each_word!(|at| Word(told, at).set(0));
    let left = packet.length().saturating_sub(begin).saturating_sub(LEAST);
    // SAFETY: it is a local. Read so, it has no past that the compiler could compare instead of it: the
    // verifier must see both bounds.
    let left = unsafe { core::ptr::read_volatile(&raw const left) };
    let left = if left > MOST - LEAST { MOST - LEAST } else { left };
    // SAFETY: the line has room for them.
    if !unsafe { packet.copy(begin, (&raw mut (*told).line).cast(), left + LEAST) } {
        return false;
    }
    let mut ended = false;
    for_each_word!(|at| ended = Word(told, at).cut(ended));
    true
}

/// A word of a line.
struct Word(*mut RequestLine, usize);

impl Word {
    #[inline(always)]
    fn place(&self) -> *mut u64 {
        // SAFETY: the line has so many words.
        unsafe { (&raw mut (*self.0).line).cast::<u64>().add(self.1) }
    }

    #[inline(always)]
    fn set(&self, word: u64) {
        // SAFETY: as in `place`.
        unsafe { self.place().write_volatile(word) };
    }

    /// Takes away what comes after the line's end; true where that is here or before.
    #[inline(always)]
    fn cut(&self, ended: bool) -> bool {
        // SAFETY: as in `place`, and it was set before.
        let read = unsafe { self.place().read_volatile() };
        let kept = if ended { 0 } else { before_end(read) };
        self.set(kept);
        ended || kept != read
    }
}

/// The bytes before the first CR or LF, as they lie in memory; zeros in the place of the others.
#[inline(always)]
fn before_end(word: u64) -> u64 {
    let ends = zero_bytes(word ^ each(b'\r')) | zero_bytes(word ^ each(b'\n'));
    let ends = u64::from_le(ends);
    // The lowest mark is that of the first such byte; none keeps all.
    let first = ends & ends.wrapping_neg();
    let kept = if ends == 0 { u64::MAX } else { (first >> 7).wrapping_sub(1) };
    word & kept.to_le()
}

/// 0x80 in the place of each byte that is zero. A mark above the lowest may be wrong, none below it.
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(each(0x01)) & !word & each(0x80)
}

#[inline(always)]
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}
