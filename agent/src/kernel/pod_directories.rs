//! The cgroups that kubelet makes for pods: which are there, and when others are (inotify(7)).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::{CgroupId, KernelError};

/// How long until it is looked again although nothing was told: kubelet may remove the cgroup of all
/// pods and make it anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sees the cgroups right below that of all pods, and those one deeper.
#[derive(Debug)]
pub struct PodDirectories {
    pods: PathBuf,
    events: AsyncFd<OwnedFd>,
}

impl PodDirectories {
    /// Those below `pods`.
    ///
    /// # Errors
    /// Where the process may have no more instances of inotify.
    pub fn new(pods: &Path) -> Result<Self, KernelError> {
        let made = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        let events = made.map_err(io::Error::from).and_then(|made| {
            // SAFETY: the descriptor is the one that its owner goes on to hold, and is never replaced.
            Ok(unsafe { AsyncFd::register(made) }?)
        });
        let events = events.map_err(|source| KernelError::Syscall {
            call: "inotify_init1",
            object: pods.display().to_string(),
            mend: "; raise fs.inotify.max_user_instances",
            source,
        })?;
        Ok(Self { pods: pods.to_owned(), events })
    }

    /// Waits until a cgroup was made or removed, or for a second.
    pub async fn changed(&mut self) {
        tokio::select! {
            ready = self.events.readable_mut() => {
                let Ok(mut ready) = ready else { return sleep(LOOK_EVERY).await };
                let mut room = [MaybeUninit::uninit(); 4096];
                let mut reader = Reader::new(ready.get_inner(), &mut room);
                // What happened is read from the directories themselves.
                while reader.next().is_ok() {}
                ready.clear_ready();
            }
            () = sleep(LOOK_EVERY) => {}
        }
    }

    /// All that are there now, by their paths below the cgroup of all pods. From here on
    /// [`Self::changed`] tells of others.
    #[must_use]
    pub fn look(&self) -> BTreeMap<PathBuf, CgroupId> {
        let mut found = BTreeMap::new();
        for (name, id) in self.inside(Path::new("")) {
            // A pod's own are few, and looked at by name alone.
            found.extend(self.inside(&name));
            found.insert(name, id);
        }
        found
    }

    /// Watched first and then read, so that nothing comes in between.
    fn inside(&self, below: &Path) -> Vec<(PathBuf, CgroupId)> {
        const MADE_OR_GONE: WatchFlags = WatchFlags::CREATE
            .union(WatchFlags::DELETE)
            .union(WatchFlags::DELETE_SELF)
            .union(WatchFlags::ONLYDIR);
        let path = self.pods.join(below);
        // One that is gone by now is not there to be read either; without a watch it is seen later.
        let _ = inotify::add_watch(&self.events, &path, MADE_OR_GONE);
        let entries = fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
        let directories = entries.filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
            Some((below.join(entry.file_name()), CgroupId(metadata.ino())))
        });
        directories.collect()
    }
}
