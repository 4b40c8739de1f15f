//! The one layer of an image: a tar of its files, the same bits for the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// What is in an image, by absolute path.
pub(crate) type Files = BTreeMap<PathBuf, File>;

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

/// A layer, before and after its compression.
pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) compressed: Vec<u8>,
}

impl Layer {
    /// `at`, in seconds since 1970, is when each file was changed.
    pub(crate) fn of(files: &Files, at: u64) -> Result<Self> {
        let tar = tar_of(files, at).context("cannot make a layer")?;
        // No name and no time in its header, which would differ from run to run.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        gzip.write_all(&tar)?;
        Ok(Self { compressed: gzip.finish()?, tar })
    }
}

fn tar_of(files: &Files, at: u64) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for directory in directories(files) {
        let mut header = header(EntryType::Directory, 0o755, at);
        tar.append_data(&mut header, directory, std::io::empty())?;
    }
    for (path, file) in files {
        let mut header = header(EntryType::Regular, file.mode, at);
        header.set_size(u64::try_from(file.content.len())?);
        tar.append_data(&mut header, relative(path), file.content.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

/// Owned by root; of names, which differ by system, it says nothing.
fn header(kind: EntryType, mode: u32, at: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(at);
    header.set_size(0);
    header
}

/// All above the files, each before what is in it.
fn directories(files: &Files) -> BTreeSet<&Path> {
    let above = files.keys().flat_map(|path| relative(path).ancestors().skip(1));
    above.filter(|path| !path.as_os_str().is_empty()).collect()
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Files {
        let file =
            |name: &&str| (name.into(), File { content: name.as_bytes().to_vec(), mode: 0o644 });
        names.iter().map(file).collect()
    }

    #[test]
    fn the_same_files_make_the_same_bits() {
        let one = Layer::of(&files(&["/usr/bin/a", "/etc/b"]), 1_000).unwrap();
        let other = Layer::of(&files(&["/etc/b", "/usr/bin/a"]), 1_000).unwrap();
        assert!(one.compressed == other.compressed && one.tar == other.tar);
        let later = Layer::of(&files(&["/etc/b", "/usr/bin/a"]), 1_001).unwrap();
        assert_ne!(one.tar, later.tar);
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_all_is_roots() {
        let layer = Layer::of(&files(&["/usr/bin/a", "/etc/b"]), 7).unwrap();
        let mut tar = tar::Archive::new(layer.tar.as_slice());
        let mut names = Vec::new();
        for entry in tar.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 7));
            assert_eq!(header.username().unwrap(), Some(""));
            names.push(entry.path().unwrap().display().to_string());
        }
        assert_eq!(names, ["etc", "usr", "usr/bin", "etc/b", "usr/bin/a"]);
    }
}
