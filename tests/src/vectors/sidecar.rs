//! A proxy inside a pod that every connection of the pod is redirected to, as service meshes do it:
//! it asks the kernel where the connection was going to, and goes there itself.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use socket2::SockRef;

/// Serves on `port` of the loopback interface as the user `uid`, until the process ends.
///
/// # Errors
/// Where the port is taken or the user cannot be changed.
pub fn serve(port: u16, uid: u32, ready: impl FnOnce()) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    // SAFETY: a plain system call.
    if unsafe { libc::setuid(uid) } != 0 {
        return Err(io::Error::last_os_error());
    }
    ready();
    for stream in listener.incoming() {
        let stream = stream?;
        // A client or a server that goes away early is its own affair.
        thread::spawn(move || relay(&stream));
    }
    Ok(())
}

fn relay(client: &TcpStream) -> io::Result<()> {
    let asked_for = SockRef::from(client).original_dst_v4()?.as_socket();
    let server = TcpStream::connect(asked_for.ok_or(io::ErrorKind::AddrNotAvailable)?)?;
    thread::scope(|scope| {
        scope.spawn(|| copy(client, &server));
        copy(&server, client)
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Write)?;
    copied.map(|_| ())
}
