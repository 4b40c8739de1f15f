//! Large transfers: a server that sends everything back, and a client that looks whether all of it
//! came back as it went.

use std::io::{self, BufReader, Read as _, Write as _};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

const PIECE: usize = 64 << 10;

/// Sends back all that comes, connection by connection, until the process ends.
pub fn mirror(address: SocketAddr, ready: impl FnOnce()) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    ready();
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that goes away early is its own affair.
        thread::spawn(move || send_back(&stream));
    }
    Ok(())
}

fn send_back(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut BufReader::with_capacity(PIECE, stream), &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

/// Sends so many bytes to a [`mirror`] while reading what comes back, and gives how many came back as
/// they went, up to the first piece that did not.
pub fn transfer(address: SocketAddr, bytes: u64) -> io::Result<u64> {
    let (stream, pattern) = (TcpStream::connect(address)?, pattern());
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(&stream, &pattern, bytes));
        let same = compare(&stream, &pattern, bytes)?;
        // Unblocks the sender where the comparison ended early.
        stream.shutdown(Shutdown::Both).or_else(already_closed)?;
        let sent = sender.join().map_err(|_| io::Error::other("the sender panicked"))?;
        if same == bytes { sent.map(|()| same) } else { Ok(same) }
    })
}

fn send(mut stream: &TcpStream, pattern: &[u8], bytes: u64) -> io::Result<()> {
    for piece in pieces(pattern, bytes) {
        stream.write_all(piece)?;
    }
    stream.shutdown(Shutdown::Write)
}

fn compare(mut stream: &TcpStream, pattern: &[u8], bytes: u64) -> io::Result<u64> {
    let (mut received, mut same) = (vec![0; pattern.len()], 0);
    for expected in pieces(pattern, bytes) {
        let received = received.get_mut(..expected.len()).unwrap_or_default();
        match stream.read_exact(received) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        if received != expected {
            break;
        }
        same += expected.len() as u64;
    }
    Ok(same)
}

/// The pattern again and again, the last time in part.
fn pieces(pattern: &[u8], bytes: u64) -> impl Iterator<Item = &[u8]> {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    iter::from_fn(move || {
        let piece = pattern.get(..left.min(pattern.len())).filter(|piece| !piece.is_empty())?;
        left -= piece.len();
        Some(piece)
    })
}

/// Numbers without a pattern (a linear congruential generator's), of a length that nothing in a network
/// stack is a part of.
fn pattern() -> Vec<u8> {
    const LENGTH: usize = 99_991;
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    iter::successors(Some(1_u32), next).map(|state| state.to_be_bytes()[0]).take(LENGTH).collect()
}

fn already_closed(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotConnected { Ok(()) } else { Err(error) }
}
