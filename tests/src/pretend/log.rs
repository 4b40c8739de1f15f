//! The record of what a pretend server received: a file of JSON lines.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What every line begins with; `T` is what the server understood, see each server's `Line`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<T> {
    /// When the request had arrived whole.
    pub at: Timestamp,
    /// Address that the connection came from.
    pub peer: SocketAddr,
    /// HTTP method.
    pub method: String,
    /// Request target: path and query as they were sent.
    pub target: String,
    /// `User-Agent`, if sent.
    pub user_agent: Option<String>,
    /// What the server understood.
    #[serde(flatten)]
    pub line: T,
}

/// Appends lines; a line is in the file when [`Writer::write`] returns.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: Mutex<File>,
}

impl Writer {
    /// Opens `path` for appending; makes it if it is not there.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open the log {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Appends one line, in one write.
    pub fn write<T: Serialize>(&self, entry: &Entry<T>) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line)
            .with_context(|| format!("cannot write the log {}", self.path.display()))
    }
}

/// Every complete line of the log so far; a log that does not exist yet is empty.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<Entry<T>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))
        })
        .collect()
}
