//! The commands' end of the socket.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{ANSWER_MAX, DEADLINE, Question, Reply};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No agent listens.
    #[error(
        "no agent answers at {path}; does one run on this node, with the same --socket, and is this root?",
        path = path.display()
    )]
    NoAgent {
        /// Where it was looked for.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It took the question and fell silent.
    #[error("the agent does not answer; see its log")]
    Silent(#[source] io::Error),
    /// It answered something else.
    #[error("the agent's answer is not understood; is it of another version than this command?")]
    Garbled(#[source] serde_json::Error),
    /// It said why not.
    #[error("the agent says: {0}")]
    Failed(String),
}

/// Asks the agent that listens at `path`.
///
/// # Errors
/// Where none listens, or it does not answer in time or in the form that was asked for.
pub async fn ask<T: DeserializeOwned>(path: &Path, question: &Question) -> Result<T, AskError> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connected = timeout(DEADLINE, UnixStream::connect(path)).await.map_err(late);
    let stream = connected
        .and_then(|stream| stream)
        .map_err(|source| AskError::NoAgent { path: path.to_owned(), source })?;
    let line = timeout(DEADLINE, converse(stream, question)).await.map_err(late);
    let line = line.and_then(|line| line).map_err(AskError::Silent)?;
    match serde_json::from_slice(&line).map_err(AskError::Garbled)? {
        Reply::Answer(answer) => serde_json::from_value(answer).map_err(AskError::Garbled),
        Reply::Failed(why) => Err(AskError::Failed(why)),
    }
}

async fn converse(mut stream: UnixStream, question: &Question) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}
