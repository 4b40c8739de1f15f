//! The agent's end of the socket.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Answers, DEADLINE, QUESTION_MAX, Question, Reply};

/// Conversations at a time; others wait to be accepted.
const CONVERSATIONS_MAX: usize = 16;
/// After the kernel refused to accept, as it does without free descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const ROOT: u32 = 0;
/// What the owner of a directory may do with it (inode(7)).
const OWNERS: u32 = 0o700;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another agent has it.
    #[error("another agent answers at {0}; stop that one, or give this one another --socket")]
    Taken(PathBuf),
    /// Others could put a socket of theirs in our place.
    #[error(
        "{directory} is not root's alone (owner {owner}, mode {mode:o}); others could answer in the agent's place: `chown 0 {directory}; chmod 700 {directory}`, or name another place by --socket",
        directory = directory.display()
    )]
    Open {
        /// Where the socket would be.
        directory: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A file or directory cannot be used.
    #[error("cannot {what} {path}; name another place by --socket", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The socket, bound; gone with this.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Locked as long as we live, however we end: who has the lock has the socket.
    _lock: File,
}

impl Socket {
    /// Binds `path`, in a directory that is root's alone and is made where it is not there. What an
    /// agent left that was killed is replaced; the socket of one that lives is not touched.
    ///
    /// # Errors
    /// Where another agent has it, or the place is not safe or cannot be used.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SocketError::File { what, path, source }
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        private(directory)?;
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = Path::new(&lock_path);
        let lock = File::create(lock_path).map_err(failed("create", lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SocketError::Taken(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("lock", lock_path)(error)),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("bind", path))?;
        let socket = Self { listener, path: path.to_owned(), _lock: lock };
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("set the permissions of", path))?;
        Ok(socket)
    }

    /// Answers whoever asks, until told to stop.
    pub async fn serve(self, answers: Arc<impl Answers>, stop: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = open.join_next() => {}
                accepted = self.listener.accept(), if open.len() < CONVERSATIONS_MAX => {
                    match accepted {
                        Ok((stream, _)) => {
                            open.spawn(converse(stream, Arc::clone(&answers)));
                        }
                        Err(error) => {
                            warn!(%error, "the agent's socket cannot accept");
                            sleep(AFTER_FAILURE).await;
                        }
                    }
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whatever is left is replaced by the next agent.
        let _ = fs::remove_file(&self.path);
    }
}

fn private(directory: &Path) -> Result<(), SocketError> {
    let failed =
        |what| move |source| SocketError::File { what, path: directory.to_owned(), source };
    match fs::DirBuilder::new().mode(OWNERS).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create")(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(failed("look at"))?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let ours = found.is_dir() && owner == ROOT && mode == OWNERS;
    if ours {
        Ok(())
    } else {
        Err(SocketError::Open { directory: directory.to_owned(), owner, mode })
    }
}

async fn converse(stream: UnixStream, answers: Arc<impl Answers>) {
    match timeout(DEADLINE, answer(stream, answers)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "who asked over the agent's socket has gone"),
        Err(_) => debug!("who asked over the agent's socket took too long"),
    }
}

async fn answer(mut stream: UnixStream, answers: Arc<impl Answers>) -> io::Result<()> {
    let reply = match read(&mut stream).await? {
        Ok(question) => match answers.answer(question).await {
            Ok(answer) => Reply::Answer(answer),
            Err(why) => Reply::Failed(why),
        },
        Err(why) => Reply::Failed(why.to_owned()),
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

/// The question, or what is wrong with whoever asks or with what they say.
async fn read(stream: &mut UnixStream) -> io::Result<Result<Question, &'static str>> {
    if stream.peer_cred()?.uid() != ROOT {
        return Ok(Err("only root may ask"));
    }
    let mut line = Vec::new();
    BufReader::new(stream).take(QUESTION_MAX).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Ok(Err("not a line, or too long a one"));
    }
    Ok(serde_json::from_slice(&line).map_err(|_| "no question that this version knows"))
}
