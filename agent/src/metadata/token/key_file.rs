//! The file that the keys of tokens outlive the agent in.
//!
//! ```text
//! podrole-token-key v1
//! current 2957310187 2026-11-22T08:18:00Z <32 bytes in base64url>
//! previous 1380012 2026-05-22T08:18:00Z <32 bytes in base64url>
//! ```
//!
//! One key per line: id, when it was made, the secret. The line of the previous key may be missing.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::{Key, Keys};
use crate::metadata::documents::timestamp;

#[cfg(test)]
mod tests;

const FILE: &str = "token-key";
const TITLE: &str = "podrole-token-key v";
const VERSION: u32 = 1;
/// Bytes; a file of two keys has fewer than 200.
const LIMIT: usize = 1024;

/// Why there are no keys for tokens, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say all that there is to say")]
pub enum KeyError {
    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a regular file: remove it, and a new key is made at the next start", .path.display())]
    NotAFile { path: PathBuf },
    #[error(
        "{} is open to others than its owner (mode {mode:04o}): remove it, and a new key is made at \
         the next start; or `chmod 600` it, if nobody can have read it",
        .path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "line {line} of {} {wrong}: remove the file, and a new key is made at the next start (pods' \
         present tokens then stop working)",
        .path.display()
    )]
    Malformed { path: PathBuf, line: usize, wrong: &'static str },
    #[error(
        "{} was written by a newer podrole (format v{version}, this one reads v{VERSION}): run that \
         one, or remove the file (pods' present tokens then stop working)",
        .path.display()
    )]
    Newer { path: PathBuf, version: u32 },
    #[error("no random bytes for a key of tokens: the node's getrandom(2) failed")]
    NoRandomness,
}

impl KeyError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// See [`Keys::open`].
pub(super) fn open(state_dir: &Path, now: SystemTime) -> Result<Keys, KeyError> {
    let path = state_dir.join(FILE);
    if let Some(keys) = load(&path)? {
        return Ok(keys);
    }
    create(state_dir, &path, now)?;
    // Read back what is there now: where two agents start at once, that is one key for both.
    load(&path)?.ok_or_else(|| KeyError::io("find", &path)(io::ErrorKind::NotFound.into()))
}

/// Puts a new key in the place of the current one, which becomes the previous one.
pub(super) fn change(state_dir: &Path, now: SystemTime) -> Result<Keys, KeyError> {
    let path = state_dir.join(FILE);
    let Some(text) = load_text(&path)? else { return open(state_dir, now) };
    parse(&text).map_err(|fault| fault.at(&path))?;
    let mut new = new_text(now)?;
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(rest) =
            line.strip_prefix(b"current ").and_then(|rest| str::from_utf8(rest).ok())
        {
            new.extend(["previous ", rest, "\n"]);
        }
    }
    replace(state_dir, &path, &new)?;
    load(&path)?.ok_or_else(|| KeyError::io("find", &path)(io::ErrorKind::NotFound.into()))
}

/// `None` where there is no such file.
fn load(path: &Path) -> Result<Option<Keys>, KeyError> {
    let text = load_text(path)?;
    text.map(|text| parse(&text).map_err(|fault| fault.at(path))).transpose()
}

fn load_text(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    // Neither follows a link that somebody put there nor waits for a pipe's other end.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Err(KeyError::NotAFile { path: path.to_owned() });
        }
        Err(error) => return Err(KeyError::io("open", path)(error)),
    };
    inspect(&file, path)?;
    read(file, path).map(Some)
}

fn inspect(file: &File, path: &Path) -> Result<(), KeyError> {
    let about = file.metadata().map_err(KeyError::io("inspect", path))?;
    if !about.is_file() {
        return Err(KeyError::NotAFile { path: path.to_owned() });
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

fn read(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // All the room there will be need of: growing would leave a copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(LIMIT + 64));
    let limit = u64::try_from(LIMIT).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut text).map_err(KeyError::io("read", path))?;
    Ok(text)
}

/// What is wrong with the text of a key file.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Newer(u32),
    Line(usize, &'static str),
}

impl Fault {
    fn at(self, path: &Path) -> KeyError {
        let path = path.to_owned();
        match self {
            Self::Newer(version) => KeyError::Newer { path, version },
            Self::Line(line, wrong) => KeyError::Malformed { path, line, wrong },
        }
    }
}

fn parse(text: &[u8]) -> Result<Keys, Fault> {
    let text = str::from_utf8(text).map_err(|_| Fault::Line(1, "is not text"))?;
    let mut lines = text.lines();
    let title = lines.next().and_then(|line| line.strip_prefix(TITLE));
    match title.and_then(|version| version.parse().ok()) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(Fault::Newer(version)),
        _ => return Err(Fault::Line(1, "is not the title of a key file")),
    }
    // After the title: that of a newer version may be longer, and its message is the better one.
    if text.len() > LIMIT {
        return Err(Fault::Line(2, "begins more text than two keys have"));
    }
    let current = lines.next().ok_or(Fault::Line(2, "is missing"))?;
    let current = parse_key(current, "current").map_err(|wrong| Fault::Line(2, wrong))?;
    let previous = lines.next().map(|line| parse_key(line, "previous")).transpose();
    let previous = previous.map_err(|wrong| Fault::Line(3, wrong))?;
    if previous.as_ref().is_some_and(|previous| previous.id == current.id) {
        return Err(Fault::Line(3, "has the current key's id"));
    }
    match lines.next() {
        Some(_) => Err(Fault::Line(4, "is one too many")),
        None => Ok(Keys { current, previous }),
    }
}

fn parse_key(line: &str, role: &str) -> Result<Key, &'static str> {
    let mut fields = line.split(' ');
    let mut field = || fields.next().unwrap_or_default();
    if field() != role {
        return Err("does not begin with `current` or `previous` as it should");
    }
    let id = field().parse().map_err(|_| "has no key id")?;
    let created = field().parse::<jiff::Timestamp>().map_err(|_| "has no time")?;
    let mut secret = Zeroizing::new([0; 32]);
    match URL_SAFE_NO_PAD.decode_slice(field(), secret.as_mut_slice()) {
        Ok(32) if fields.next().is_none() => Ok(Key::new(id, created.into(), &secret)),
        _ => Err("does not end in 32 bytes of base64url"),
    }
}

/// Puts a new key at `path`, unless one is there by then.
fn create(state_dir: &Path, path: &Path, now: SystemTime) -> Result<(), KeyError> {
    let text = new_text(now)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .map_err(KeyError::io("make the directory", state_dir))?;
    let draft = draft_in(state_dir)?;
    let placed = write(&draft, &text)
        .map_err(KeyError::io("write", &draft))
        .and_then(|()| place(&draft, path).map_err(KeyError::io("make", path)));
    let removed = fs::remove_file(&draft).map_err(KeyError::io("remove", &draft));
    placed.and(removed)?;
    sync(state_dir)
}

/// Puts `text` at `path` in place of what is there: whoever reads it has the one or the other, whole.
fn replace(state_dir: &Path, path: &Path, text: &str) -> Result<(), KeyError> {
    let draft = draft_in(state_dir)?;
    let placed = write(&draft, text)
        .map_err(KeyError::io("write", &draft))
        .and_then(|()| fs::rename(&draft, path).map_err(KeyError::io("replace", path)));
    if placed.is_err() {
        // It may not even be there; what is wrong is told already.
        let _ = fs::remove_file(&draft);
    }
    placed.and_then(|()| sync(state_dir))
}

/// A name of its own: what an agent that was killed half-way left behind is in nobody's way.
fn draft_in(state_dir: &Path) -> Result<PathBuf, KeyError> {
    Ok(state_dir.join(format!(".{FILE}.{:016x}", u64::from_be_bytes(random()?))))
}

fn sync(state_dir: &Path) -> Result<(), KeyError> {
    let directory = File::open(state_dir).and_then(|directory| directory.sync_all());
    directory.map_err(KeyError::io("sync", state_dir))
}

fn new_text(now: SystemTime) -> Result<Zeroizing<String>, KeyError> {
    let id = u32::from_be_bytes(random()?);
    let secret = Zeroizing::new(random::<32>()?);
    let mut text = Zeroizing::new(String::with_capacity(LIMIT));
    // Writing to a String does not fail.
    let _ = write!(text, "{TITLE}{VERSION}\ncurrent {id} {} ", timestamp(now));
    URL_SAFE_NO_PAD.encode_string(secret.as_slice(), &mut text);
    text.push('\n');
    Ok(text)
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}

fn write(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A link, not a rename: it is as atomic, and never replaces a key that tokens were signed with.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
