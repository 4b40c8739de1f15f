//! How an agent gives all that it has to the one that comes after it: listening sockets as descriptors
//! (unix(7), `SCM_RIGHTS`), the rest as bytes that go from memory to memory.
//!
//! | the new agent says | the old one |
//! |---|---|
//! | a question, [`Question::HandOver`] | offers its sockets, and goes on as before |
//! | `begin` | rests, and gives its state |
//! | `done` | stays at rest as long as the new one lives |
//! | nothing more, before or after `done` | goes on where it stopped |
//!
//! These steps are what versions of podrole have in common. What the state is, only those understand that
//! know its format; one that does not begins afresh, with the same sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::client::AskError;
use super::server::say;
use super::{Question, Reply};

/// For each thing that the other one says or does at once.
const DEADLINE: Duration = Duration::from_secs(10);
/// More sockets than an agent has.
const SOCKETS_MAX: usize = 32;
/// The longest offer, in bytes.
const OFFER_MAX: usize = 4 * 1024;
/// The longest state, in bytes: the sessions of a node full of pods, and much to spare.
const STATE_MAX: usize = 64 * 1024 * 1024;
const BEGIN: u8 = b'b';
const DONE: u8 = b'd';

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Pods come to it.
    Proxy,
    /// Probes come to it.
    Admin,
    /// Commands come to it.
    Control,
    /// Its name keeps a second podrole off the node.
    Claim,
    /// Another version's.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    version: String,
    /// What each of the descriptors is for.
    sockets: Vec<Use>,
}

/// A new agent, as the old one sees it.
#[derive(Debug)]
pub struct Successor {
    stream: UnixStream,
    /// Which podrole it is.
    pub version: String,
}

/// What a new agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is about to serve.
    Begin,
    /// It serves.
    Done,
    /// Nothing: it has gone.
    Gone,
}

impl Successor {
    pub(super) fn new(stream: UnixStream, version: String) -> Self {
        Self { stream, version }
    }

    /// Says that nothing is handed over, and why.
    pub async fn refuse(mut self, why: &str) {
        // One that has gone need not be told.
        let _ = timeout(DEADLINE, say(&mut self.stream, &Reply::Failed(why.to_owned()))).await;
    }

    /// Gives it these sockets.
    ///
    /// # Errors
    /// Where it has gone.
    pub async fn offer(&mut self, sockets: &[(Use, BorrowedFd<'_>)]) -> io::Result<()> {
        let (uses, descriptors): (Vec<_>, Vec<_>) = sockets.iter().copied().unzip();
        let offer = Offer { version: env!("CARGO_PKG_VERSION").to_owned(), sockets: uses };
        let mut line = serde_json::to_vec(&Reply::Answer(serde_json::to_value(offer)?))?;
        line.push(b'\n');
        let sent = self.stream.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let flags = SendFlags::NOSIGNAL;
            Ok(sendmsg(self.stream.as_fd(), &[IoSlice::new(&line)], &mut control, flags)?)
        });
        let sent = timeout(DEADLINE, sent).await??;
        self.stream.write_all(line.get(sent..).unwrap_or_default()).await
    }

    /// What it says next, however long that takes.
    pub async fn next(&mut self) -> Step {
        match self.stream.read_u8().await {
            Ok(BEGIN) => Step::Begin,
            Ok(DONE) => Step::Done,
            Ok(_) | Err(_) => Step::Gone,
        }
    }

    /// Gives it the state.
    ///
    /// # Errors
    /// Where it has gone, or takes nothing.
    pub async fn give(&mut self, state: &[u8]) -> io::Result<()> {
        let length = u32::try_from(state.len()).map_err(io::Error::other)?;
        let given = async {
            self.stream.write_u32(length).await?;
            self.stream.write_all(state).await
        };
        timeout(DEADLINE, given).await?
    }
}

/// The old agent, as the new one sees it.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// Which podrole it is.
    pub version: String,
}

impl Predecessor {
    /// Asks the agent that listens at `path` for all that it has; its sockets come at once.
    ///
    /// # Errors
    /// Where there is none, or it does not hand over.
    pub async fn ask(path: &Path) -> Result<(Self, Vec<(Use, OwnedFd)>), AskError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| AskError::NoAgent { path: path.to_owned(), source })?;
        let (mut line, mut descriptors) = (Vec::new(), Vec::new());
        let asked = async {
            let mut stream = stream;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            let mut question = serde_json::to_vec(&Question::HandOver { version })?;
            question.push(b'\n');
            stream.write_all(&question).await?;
            while line.last() != Some(&b'\n') && line.len() < OFFER_MAX {
                let (read, more) = stream.async_io(Interest::READABLE, || receive(&stream)).await?;
                if read.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                line.extend(read);
                descriptors.extend(more);
            }
            Ok(stream)
        };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let asked = timeout(DEADLINE, asked).await.map_err(late).and_then(|asked| asked);
        let stream = asked.map_err(AskError::Silent)?;
        let offer = match serde_json::from_slice(&line).map_err(AskError::Garbled)? {
            Reply::Answer(offer) => offer,
            Reply::Failed(why) => return Err(AskError::Failed(why)),
        };
        let Offer { version, sockets } =
            serde_json::from_value(offer).map_err(AskError::Garbled)?;
        Ok((Self { stream, version }, sockets.into_iter().zip(descriptors).collect()))
    }

    /// Has it rest, and takes its state.
    ///
    /// # Errors
    /// Where it has gone, or does not answer.
    pub async fn begin(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        let begun = async {
            self.stream.write_u8(BEGIN).await?;
            let length =
                usize::try_from(self.stream.read_u32().await?).map_err(io::Error::other)?;
            if length > STATE_MAX {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            // Never grown: what is left behind by that would not be zeroised.
            let mut state = Zeroizing::new(vec![0; length]);
            self.stream.read_exact(&mut state).await?;
            Ok(state)
        };
        timeout(DEADLINE, begun).await?
    }

    /// Tells it that this agent serves.
    ///
    /// # Errors
    /// Where it has gone, or has taken the duty back.
    pub async fn done(&mut self) -> io::Result<()> {
        timeout(DEADLINE, self.stream.write_u8(DONE)).await?
    }

    /// Waits until it has gone.
    pub async fn gone(&mut self) {
        // It has nothing to say.
        let _ = self.stream.read_u8().await;
    }
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = [0; OFFER_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(stream.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    Ok((bytes.get(..message.bytes).unwrap_or_default().to_vec(), descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// An old agent that does what `with` says.
    async fn beside<F>(with: impl FnOnce(Successor) -> F) -> Result<(), AskError>
    where
        F: Future<Output = ()>,
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let old = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 256];
            let read = stream.read(&mut question).await.unwrap();
            let question = serde_json::from_slice(&question[..read]).unwrap();
            let Question::HandOver { version } = question else { panic!("{question:?}") };
            with(Successor::new(stream, version)).await;
        };
        let new = async {
            let (mut old, mut sockets) = Predecessor::ask(&path).await?;
            let (kind, socket) = sockets.pop().unwrap();
            assert_eq!((kind, sockets.len()), (Use::Control, 1));
            assert_eq!(&**old.begin().await.unwrap(), b"all that there is");
            old.done().await.unwrap();
            // It is the same queue: who came to the old one is let in by the new one.
            let (mut caller, _) = UnixListener::from(socket).accept().unwrap();
            let mut said = String::new();
            caller.read_to_string(&mut said).unwrap();
            assert_eq!(said, "before the hand-over");
            Ok(())
        };
        let ((), new) = tokio::join!(old, new);
        new
    }

    #[tokio::test]
    async fn sockets_and_state_go_over_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut caller = std::os::unix::net::UnixStream::connect(&path).unwrap();
        caller.write_all(b"before the hand-over").unwrap();
        drop(caller);
        beside(async |mut successor: Successor| {
            assert_eq!(successor.version, env!("CARGO_PKG_VERSION"));
            let sockets = [(Use::Claim, listener.as_fd()), (Use::Control, listener.as_fd())];
            successor.offer(&sockets).await.unwrap();
            assert_eq!(successor.next().await, Step::Begin);
            successor.give(b"all that there is").await.unwrap();
            assert_eq!(successor.next().await, Step::Done);
            assert_eq!(successor.next().await, Step::Gone);
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn an_old_agent_may_refuse() {
        let refused = beside(async |successor: Successor| successor.refuse("not now").await).await;
        assert_eq!(refused.unwrap_err().to_string(), "the agent says: not now");
    }

    #[test]
    fn sockets_of_other_versions_are_let_be() {
        let offer = r#"{"version":"9.9.9","sockets":["proxy","quic"],"more":1}"#;
        let offer: Offer = serde_json::from_str(offer).unwrap();
        assert_eq!(offer.sockets, [Use::Proxy, Use::Unknown]);
    }
}
