//! The ServiceAccount token that kubelet projected into a pod's volume, read from the node's side.
//!
//! kubelet renews it by swapping a symbolic link (`..data`) within the volume, so the file is opened
//! anew each time, by its name; the kernel keeps that walk within the volume (openat2(2),
//! `RESOLVE_BENEATH`).

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::callers::pods::{PodUid, ProjectedToken};

/// Longer than any token of an API server.
const LONGEST: usize = 64 * 1024;
/// How often the walk is begun again when kubelet swaps the link under it.
const ATTEMPTS: u32 = 4;

/// Why a token cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// kubelet has not mounted the volume yet, or `--kubelet-dir` is not where it keeps them.
    #[error("{path} is not there (yet); is --kubelet-dir right, and the host's directory?")]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        why: io::Error,
    },
    /// It is something else.
    #[error("{path} is no token: {what}")]
    NoToken {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
}

/// Reads the token of the pod's volume.
///
/// # Errors
/// [`TokenFileError`]
pub(super) fn read(
    kubelet: &Path,
    pod: &PodUid,
    token: &ProjectedToken,
) -> Result<SecretString, TokenFileError> {
    // kubelet's own layout (k8s.io/kubernetes, pkg/kubelet/config/defaults.go).
    let volume = ["pods", pod.as_str(), "volumes", "kubernetes.io~projected", &token.volume];
    let volume: PathBuf = volume.iter().collect();
    let path = kubelet.join(&volume).join(&*token.path);
    let names = [pod.as_str(), &token.volume];
    if !names.into_iter().all(is_one_name) || !is_plain(Path::new(&*token.path)) {
        return Err(TokenFileError::NoToken { path, what: "its path leaves the pod's volume" });
    }
    let mut last = Errno::NOENT;
    for _ in 0..ATTEMPTS {
        match open(kubelet, &volume, Path::new(&*token.path)) {
            Ok(file) => return read_file(file, path),
            // What the link led to was removed meanwhile, or the kernel saw a rename and cannot tell.
            Err(error @ (Errno::NOENT | Errno::AGAIN | Errno::INTR)) => last = error,
            Err(error) => return Err(TokenFileError::Unreadable { path, why: error.into() }),
        }
    }
    Err(match last {
        Errno::NOENT => TokenFileError::Absent { path },
        error => TokenFileError::Unreadable { path, why: error.into() },
    })
}

/// Whether this is the name of one directory, as the API server's names are.
fn is_one_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn open(kubelet: &Path, volume: &Path, file: &Path) -> Result<OwnedFd, Errno> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let kubelet = openat2(CWD, kubelet, directory, Mode::empty(), ResolveFlags::empty())?;
    // From here on every name was somebody's choice.
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let no_links = beneath | ResolveFlags::NO_SYMLINKS;
    let volume = openat2(&kubelet, volume, directory, Mode::empty(), no_links)?;
    // A FIFO must not hold up the agent.
    let reading = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat2(&volume, file, reading, Mode::empty(), beneath | ResolveFlags::NO_XDEV)
}

fn read_file(file: OwnedFd, path: PathBuf) -> Result<SecretString, TokenFileError> {
    let unreadable = |path, why| TokenFileError::Unreadable { path, why };
    let kind = match fstat(&file) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(error) => return Err(unreadable(path, error.into())),
    };
    if kind != FileType::RegularFile {
        return Err(TokenFileError::NoToken { path, what: "no regular file" });
    }
    // Of full size from the start: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let limit = u64::try_from(LONGEST + 1).unwrap_or(u64::MAX);
    if let Err(error) = std::fs::File::from(file).take(limit).read_to_end(&mut bytes) {
        return Err(unreadable(path, error));
    }
    if bytes.len() > LONGEST {
        return Err(TokenFileError::NoToken { path, what: "longer than 64 KiB" });
    }
    match std::str::from_utf8(&bytes).map(str::trim_end) {
        Ok("") => Err(TokenFileError::NoToken { path, what: "empty" }),
        Ok(text) => Ok(SecretString::from(text)),
        Err(_) => Err(TokenFileError::NoToken { path, what: "no text" }),
    }
}

/// Lays a token as kubelet's atomic writer does, in the place of the one that is there.
#[cfg(test)]
pub(super) fn lay_token(kubelet: &Path, pod: &str, volume: &str, token: &str) {
    use std::os::unix::fs::symlink;

    let volume =
        kubelet.join("pods").join(pod).join("volumes/kubernetes.io~projected").join(volume);
    std::fs::create_dir_all(&volume).unwrap();
    let name = format!("..{}", std::fs::read_dir(&volume).unwrap().count());
    std::fs::create_dir(volume.join(&name)).unwrap();
    std::fs::write(volume.join(&name).join("token"), token).unwrap();
    symlink(name, volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    // It is there from the second time on.
    let _ = symlink("..data/token", volume.join("token"));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use super::*;

    const VOLUME: &str = "pods/uid-1/volumes/kubernetes.io~projected/aws-iam-token";

    /// A volume with the token `first`.
    fn kubelet() -> (TempDir, PathBuf) {
        let kubelet = tempfile::tempdir().unwrap();
        lay_token(kubelet.path(), "uid-1", "aws-iam-token", "first\n");
        let volume = kubelet.path().join(VOLUME);
        (kubelet, volume)
    }

    fn token(path: &str) -> ProjectedToken {
        ProjectedToken { volume: "aws-iam-token".into(), path: path.into(), audience: None }
    }

    fn read_at(kubelet: &Path, path: &str) -> Result<String, TokenFileError> {
        let secret = read(kubelet, &PodUid::new("uid-1"), &token(path))?;
        Ok(secret.expose_secret().to_owned())
    }

    #[test]
    fn a_token_is_read_through_kubelets_links_also_after_it_was_renewed() {
        let (kubelet, volume) = kubelet();
        assert_eq!(read_at(kubelet.path(), "token").unwrap(), "first");
        let first = volume.join(fs::read_link(volume.join("..data")).unwrap());
        lay_token(kubelet.path(), "uid-1", "aws-iam-token", "second");
        fs::remove_dir_all(first).unwrap();
        assert_eq!(read_at(kubelet.path(), "token").unwrap(), "second");
    }

    #[test]
    fn nothing_outside_of_the_volume_is_read() {
        let (kubelet, volume) = kubelet();
        fs::write(kubelet.path().join("secret"), "secret").unwrap();
        symlink(kubelet.path().join("secret"), volume.join("absolute")).unwrap();
        symlink("../../../../../secret", volume.join("relative")).unwrap();
        for path in ["absolute", "relative"] {
            let error = read_at(kubelet.path(), path).unwrap_err();
            assert!(matches!(error, TokenFileError::Unreadable { .. }), "{error}");
        }
        for path in ["../../../../../secret", "/etc/hostname", ""] {
            let error = read_at(kubelet.path(), path).unwrap_err();
            assert!(matches!(error, TokenFileError::NoToken { .. }), "{error}");
        }
        for uid in ["..", "", "a/b", "/"] {
            let error = read(kubelet.path(), &PodUid::new(uid), &token("token")).unwrap_err();
            assert!(matches!(error, TokenFileError::NoToken { .. }), "{uid}: {error}");
        }
    }

    #[test]
    fn a_volume_that_is_a_link_is_not_followed() {
        let (kubelet, volume) = kubelet();
        let elsewhere = kubelet.path().join("elsewhere");
        fs::rename(&volume, &elsewhere).unwrap();
        symlink(&elsewhere, &volume).unwrap();
        assert!(read_at(kubelet.path(), "token").is_err());
    }

    #[test]
    fn what_is_no_token_is_named() {
        let (kubelet, volume) = kubelet();
        let absent = read_at(kubelet.path(), "absent").unwrap_err();
        assert!(matches!(absent, TokenFileError::Absent { .. }), "{absent}");
        fs::write(volume.join("long"), vec![b'x'; LONGEST + 1]).unwrap();
        fs::write(volume.join("empty"), "\n").unwrap();
        fs::create_dir(volume.join("directory")).unwrap();
        rustix::fs::mkfifoat(CWD, volume.join("pipe"), Mode::RWXU).unwrap();
        for path in ["long", "empty", "directory", "pipe"] {
            let error = read_at(kubelet.path(), path).unwrap_err();
            assert!(matches!(error, TokenFileError::NoToken { .. }), "{path}: {error}");
        }
    }
}
