//! The volumes of pods as kubelet keeps them: ServiceAccount tokens projected into them, behind the
//! symbolic links of its atomic writer.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

/// kubelet's directory.
#[derive(Debug)]
pub struct Volumes {
    directory: PathBuf,
    written: AtomicU32,
}

impl Volumes {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, written: AtomicU32::new(0) }
    }

    /// `--kubelet-dir`
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts a token into a volume of a pod, in place of the one that is there.
    pub fn project(&self, pod_uid: &str, volume: &str, token: &str) -> Result<()> {
        let pod = self.directory.join("pods").join(pod_uid);
        let volume = pod.join("volumes/kubernetes.io~projected").join(volume);
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let name = format!("..2026_01_01_00_00_00.{number}");
        let fresh = volume.join(&name);
        fs::create_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
        fs::write(fresh.join("token"), token)?;
        let data = volume.join("..data");
        let before = fs::read_link(&data).ok();
        symlink(&name, volume.join("..data_tmp"))?;
        fs::rename(volume.join("..data_tmp"), &data)?;
        match before {
            Some(before) => fs::remove_dir_all(volume.join(before))?,
            None => symlink("..data/token", volume.join("token"))?,
        }
        Ok(())
    }
}
