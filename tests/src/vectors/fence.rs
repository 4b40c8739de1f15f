//! Packets that say "all before me has arrived": one from every processor, since packets overtake
//! each other only between processors.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What a fence packet begins with; its number follows, in network order.
pub const MARK: &[u8; 8] = b"podfence";

/// The port that fences are sent to, where nobody listens.
pub const PORT: u16 = 9;

/// Sends fence `number` from each processor in turn, and gives how many that were.
///
/// # Errors
/// Where a processor cannot be chosen, or nothing be sent.
pub fn send(to: SocketAddr, number: u32) -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let processors = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor));
    let mut sent = 0;
    for processor in processors {
        let mut only = CpuSet::new();
        only.set(processor);
        sched_setaffinity(None, &only)?;
        // A socket each: an earlier packet's rejection would be reported on it.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.send_to(&[MARK.as_slice(), &number.to_be_bytes()].concat(), to)?;
        sent += 1;
    }
    Ok(sent)
}

/// The number of the fence that these bytes are.
#[must_use]
pub fn number(payload: &[u8]) -> Option<u32> {
    let number = payload.strip_prefix(MARK.as_slice())?;
    Some(u32::from_be_bytes(number.get(..4)?.try_into().ok()?))
}
