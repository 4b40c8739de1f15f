//! Files of the state directory that podrole alone writes: replaced whole or not at all, and not
//! believed where somebody else could have written them, or for another node.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest that is read, in bytes: 10,000 pods with long annotations.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Why a file is not to be used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Others may have written it.
    #[error("{} is not a file of podrole's own that nobody else may write (`chmod 600`)", path.display())]
    NotOwn {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} is not what podrole writes there", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It is of another version, of another node, or of an agent that kept other keys.
    #[error("{} is of another node, another version of podrole, or other flags", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

/// One file, of one node.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    version: u32,
    node: String,
    /// The annotations and labels that are kept of objects: what was written by other flags lacks some.
    keys: Vec<String>,
}

/// What says whose it is.
#[derive(Debug, Deserialize, Serialize)]
struct Envelope<T> {
    version: u32,
    node: String,
    keys: Vec<String>,
    #[serde(flatten)]
    content: T,
}

impl StateFile {
    /// The file `name` of `state_dir`, of this version of its content and of this node, by an agent that
    /// keeps these keys of objects.
    #[must_use]
    pub fn new(
        state_dir: &Path,
        name: &str,
        version: u32,
        node: &str,
        mut keys: Vec<String>,
    ) -> Self {
        keys.sort();
        Self { path: state_dir.join(name), version, node: node.to_owned(), keys }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds; none where there is no file yet.
    ///
    /// # Errors
    /// Why it is not to be used.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, StateError> {
        let Some(text) = self.text()? else { return Ok(None) };
        let read: Envelope<T> = serde_json::from_slice(&text)
            .map_err(|source| StateError::Malformed { path: self.path.clone(), source })?;
        if read.version != self.version || read.node != self.node || read.keys != self.keys {
            return Err(StateError::Foreign { path: self.path.clone() });
        }
        Ok(Some(read.content))
    }

    /// Puts `content` in the place of what was there.
    ///
    /// # Errors
    /// What the kernel refused; what was there is still there then.
    pub fn replace(&self, content: &impl Serialize) -> Result<(), StateError> {
        let (version, node, keys) = (self.version, self.node.clone(), self.keys.clone());
        let text = serde_json::to_vec(&Envelope { version, node, keys, content })
            .map_err(|source| StateError::Malformed { path: self.path.clone(), source })?;
        let new = self.path.with_extension("json.new");
        if let Some(directory) = self.path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(failed("make", directory))?;
        }
        // Left by one that was killed while it wrote; nobody else writes here.
        let _ = fs::remove_file(&new);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        let mut file = file.map_err(failed("make", &new))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
        fs::rename(&new, &self.path).map_err(failed("replace", &self.path))
    }

    fn text(&self) -> Result<Option<Vec<u8>>, StateError> {
        // Neither follows a link that somebody put there nor waits for a pipe's other end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &self.path)(error)),
        };
        self.inspect(&file)?;
        let mut text = Vec::new();
        file.take(LIMIT).read_to_end(&mut text).map_err(failed("read", &self.path))?;
        Ok(Some(text))
    }

    fn inspect(&self, file: &File) -> Result<(), StateError> {
        let about = file.metadata().map_err(failed("inspect", &self.path))?;
        let is_own = about.uid() == rustix::process::geteuid().as_raw();
        if about.is_file() && about.mode() & 0o022 == 0 && is_own {
            return Ok(());
        }
        Err(StateError::NotOwn { path: self.path.clone() })
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
    struct Content {
        words: Vec<String>,
    }

    fn content() -> Content {
        Content { words: vec!["one".into(), "two".into()] }
    }

    fn written() -> (tempfile::TempDir, StateFile) {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let file = StateFile::new(&state, "words.json", 3, "node-1", vec!["b".into(), "a".into()]);
        file.replace(&content()).unwrap();
        (directory, file)
    }

    #[test]
    fn it_is_read_as_it_was_written_and_nobody_else_reads_it() {
        let (_directory, file) = written();
        assert_eq!(file.read().unwrap(), Some(content()));
        assert_eq!(file.path.metadata().unwrap().mode() & 0o7777, 0o600);
        file.replace(&Content { words: Vec::new() }).unwrap();
        assert_eq!(file.read().unwrap(), Some(Content { words: Vec::new() }));
    }

    #[test]
    fn no_file_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path(), "words.json", 3, "node-1", Vec::new());
        assert_eq!(file.read::<Content>().unwrap(), None);
    }

    #[test]
    fn what_is_of_another_node_version_or_flags_is_not_used() {
        let (_directory, file) = written();
        for other in [
            StateFile { node: "node-2".into(), ..file.clone() },
            StateFile { version: 4, ..file.clone() },
            StateFile { keys: vec!["a".into()], ..file.clone() },
        ] {
            assert!(matches!(other.read::<Content>(), Err(StateError::Foreign { .. })));
        }
    }

    #[test]
    fn what_is_not_whole_or_not_own_is_not_used() {
        let (directory, file) = written();
        let text = fs::read(&file.path).unwrap();
        for length in 0..text.len() {
            fs::write(&file.path, &text[..length]).unwrap();
            let read = file.read::<Content>();
            assert!(matches!(read, Err(StateError::Malformed { .. })), "{length}");
        }
        fs::write(&file.path, &text).unwrap();
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(file.read::<Content>(), Err(StateError::NotOwn { .. })));
        fs::remove_file(&file.path).unwrap();
        symlink(directory.path().join("elsewhere"), &file.path).unwrap();
        assert!(matches!(file.read::<Content>(), Err(StateError::Io { .. })));
    }
}
