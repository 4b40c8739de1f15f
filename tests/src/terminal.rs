//! A program at a terminal: pty(7), with a size, and all that it wrote to it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

use crate::wait;

/// A running program and its terminal. The program is killed with the handle.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` at a terminal of this size.
    ///
    /// # Errors
    /// Where there is no terminal, or the program cannot be started.
    pub fn spawn(command: &mut Command, rows: u16, columns: u16) -> Result<Self> {
        let (ours, theirs) = open(rows, columns).context("openpty")?;
        let child = command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        // The command keeps its ends of the terminal open.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let into = Arc::clone(&written);
        thread::spawn(move || {
            let (mut ours, mut buffer) = (File::from(ours), [0; 4096]);
            // EIO once the program has ended.
            while let Ok(count @ 1..) = ours.read(&mut buffer) {
                let read = buffer.get(..count).unwrap_or_default();
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
            }
        });
        Ok(Self { child, written })
    }

    /// All that it wrote so far.
    #[must_use]
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// Waits until it has written `text` so many times.
    ///
    /// # Errors
    /// Where it has not in time.
    pub fn wait_for(&self, text: &str, times: usize) -> Result<()> {
        let seen = || Ok(self.written().matches(text).count() >= times);
        wait::until_true(&format!("{text:?} on the terminal"), seen).with_context(|| self.written())
    }

    /// Ctrl-C.
    ///
    /// # Errors
    /// Where it does not end by it.
    pub fn interrupt(mut self) -> Result<(ExitStatus, String)> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: kill takes plain numbers; the pid is our own child's, not yet waited for.
        anyhow::ensure!(unsafe { libc::kill(pid, libc::SIGINT) } == 0, "kill");
        let status =
            wait::until("the end of the program", wait::PATIENCE, || Ok(self.child.try_wait()?))?;
        Ok((status, self.written()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: both numbers are written; the other pointers are null or to a value that outlives the call.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw const size,
        )
    };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: openpty has just given both, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) })
}
