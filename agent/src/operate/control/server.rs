//! The agent's end of the socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

use super::hand_over::Successor;
use super::{Answers, DEADLINE, QUESTION_MAX, Question, Reply, own};
use crate::operate::duty::Duty;

/// Conversations at a time; others wait to be accepted.
const CONVERSATIONS_MAX: usize = 16;
/// After the kernel refused to accept, as it does without free descriptors.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
const ROOT: u32 = 0;
/// What the owner of a directory may do with it (inode(7)).
const OWNERS: u32 = 0o700;
/// What others would need to put a socket of theirs into it.
const OTHERS_WRITE: u32 = 0o022;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
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

/// A socket, bound; its name is gone with this, unless an agent on duty goes on with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Its number in its file system: the name may be another's by now.
    inode: u64,
    duty: Duty,
}

impl Socket {
    /// Binds the node's socket. What an agent left that was killed is replaced: that of one that lives
    /// is guarded by its [`super::term::Term`].
    ///
    /// # Errors
    /// Where the place is not safe or cannot be used.
    pub fn bind(path: &Path, duty: Duty) -> Result<Self, SocketError> {
        private(path.parent().unwrap_or(Path::new("/")))?;
        own::sweep(path);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed("bind", path))?;
        let socket = Self::of(listener, path, duty)?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
            .map_err(failed("set the permissions of", path))?;
        Ok(socket)
    }

    /// The node's socket as another agent has bound it.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn inherited(socket: OwnedFd, path: &Path, duty: Duty) -> Result<Self, SocketError> {
        let socket = std::os::unix::net::UnixListener::from(socket);
        let listener = socket.set_nonblocking(true).and_then(|()| UnixListener::from_std(socket));
        Self::of(listener.map_err(failed("use", path))?, path, duty)
    }

    /// Binds the socket of this agent alone.
    ///
    /// # Errors
    /// As [`Self::bind`].
    pub fn bind_own(path: &Path) -> Result<Option<Self>, SocketError> {
        own::path(path).map(|own| Self::bind(&own, Duty::always())).transpose()
    }

    fn of(listener: UnixListener, path: &Path, duty: Duty) -> Result<Self, SocketError> {
        let inode = fs::symlink_metadata(path).map_err(failed("look at", path))?.ino();
        Ok(Self { listener, path: path.to_owned(), inode, duty })
    }

    /// Answers whoever asks, while on duty, until told to stop.
    pub async fn serve(self, answers: Arc<impl Answers>, stop: CancellationToken) {
        let mut open = JoinSet::new();
        let mut duty = self.duty.clone();
        loop {
            let accepts = duty.is_on();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = duty.turns(accepts) => {}
                Some(_) = open.join_next() => {}
                accepted = self.listener.accept(), if accepts && open.len() < CONVERSATIONS_MAX => {
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

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
        if is_ours && self.duty.is_on() {
            // Whatever is left is replaced by the next agent.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> SocketError {
    move |source| SocketError::File { what, path: path.to_owned(), source }
}

/// Makes sure that nobody but root can put a socket into the directory, or see one. kubelet makes it open
/// to readers (hostPath, `DirectoryOrCreate`).
pub(super) fn private(directory: &Path) -> Result<(), SocketError> {
    match fs::DirBuilder::new().mode(OWNERS).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create", directory)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(failed("look at", directory))?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if !found.is_dir() || owner != ROOT || mode & OTHERS_WRITE != 0 {
        return Err(SocketError::Open { directory: directory.to_owned(), owner, mode });
    }
    if mode == OWNERS {
        return Ok(());
    }
    let closed = fs::set_permissions(directory, Permissions::from_mode(OWNERS));
    closed.map_err(failed("set the permissions of", directory))
}

async fn converse(mut stream: UnixStream, answers: Arc<impl Answers>) {
    let said = timeout(DEADLINE, async {
        let reply = match read(&mut stream).await? {
            Ok(Question::HandOver { version }) => return Ok(Some(version)),
            Ok(question) => match answers.answer(question).await {
                Ok(answer) => Reply::Answer(answer),
                Err(why) => Reply::Failed(why),
            },
            Err(why) => Reply::Failed(why.to_owned()),
        };
        say(&mut stream, &reply).await?;
        stream.shutdown().await?;
        Ok::<_, io::Error>(None)
    });
    match said.await {
        Ok(Ok(None)) => {}
        Ok(Ok(Some(version))) => answers.hand_over(Successor::new(stream, version)).await,
        Ok(Err(error)) => debug!(%error, "who asked over the agent's socket has gone"),
        Err(_) => debug!("who asked over the agent's socket took too long"),
    }
}

pub(super) async fn say(stream: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line).await
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
