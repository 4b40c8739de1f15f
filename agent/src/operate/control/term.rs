//! The lock of who is on duty: one agent of a node has it, however many live. It is free as soon as its
//! holder is gone, however that ended.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::server::{SocketError, private};

/// How often is looked whether it is free.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The lock; held or not.
#[derive(Debug)]
pub struct Term {
    file: File,
    path: PathBuf,
}

impl Term {
    /// The lock beside `socket`, in a directory that is root's alone and is made where it is not there.
    ///
    /// # Errors
    /// Where the place is not safe or cannot be used.
    pub fn open(socket: &Path) -> Result<Self, SocketError> {
        private(socket.parent().unwrap_or(Path::new("/")))?;
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| SocketError::File {
            what: "create",
            path: path.clone(),
            source,
        })?;
        Ok(Self { file, path })
    }

    /// Takes it if it is free; whether it has been taken.
    ///
    /// # Errors
    /// Where the kernel does not lock at all.
    pub fn try_begin(&self) -> Result<bool, SocketError> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(self.failed(error)),
        }
    }

    /// Takes it as soon as it is free, within `patience`; whether it has been taken.
    ///
    /// # Errors
    /// As [`Self::try_begin`].
    pub async fn begin(&self, patience: Duration) -> Result<bool, SocketError> {
        let deadline = Instant::now() + patience;
        loop {
            if self.try_begin()? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets it go.
    ///
    /// # Errors
    /// Where the kernel does not.
    pub fn end(&self) -> Result<(), SocketError> {
        self.file.unlock().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> SocketError {
        SocketError::File { what: "lock", path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_has_it_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/agent.sock");
        let (first, second) = (Term::open(&socket).unwrap(), Term::open(&socket).unwrap());
        assert!(first.try_begin().unwrap() && first.try_begin().unwrap());
        assert!(!second.try_begin().unwrap());
        assert!(!second.begin(Duration::ZERO).await.unwrap());
        first.end().unwrap();
        assert!(second.begin(Duration::ZERO).await.unwrap() && !first.try_begin().unwrap());
        drop(second);
        assert!(first.try_begin().unwrap());
    }
}
