//! The pods that an earlier agent wrote down, for as long as the API server cannot be reached. Only
//! those count whose cgroup is there.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::callers::cgroup_path::places_of;
use crate::callers::pod_key::PodKey;
use crate::callers::pods::{Event, Pod};
use crate::callers::snapshot::Snapshot;
use crate::report::Chain;

/// Pods that are not asked about yet.
#[derive(Debug)]
pub struct Remembered {
    pods: Vec<Pod>,
    cgroups: PathBuf,
}

impl Remembered {
    /// What `snapshot` holds, as far as it can be used. `cgroups` is the cgroup of all pods.
    #[must_use]
    pub fn load(snapshot: &Snapshot, cgroups: PathBuf) -> Self {
        let pods = snapshot.load().unwrap_or_else(|error| {
            warn!(error = %Chain(&error), "the snapshot of this node's pods is not used");
            Vec::new()
        });
        Self { pods, cgroups }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// The API server has told all: nothing else counts.
    pub(super) fn forget(&mut self) {
        self.pods = Vec::new();
    }

    /// Those that are there, once.
    pub(super) fn take(&mut self) -> Option<Event> {
        if self.pods.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut self.pods);
        let (known, there) = (all.len(), all.into_iter().filter(|pod| self.is_there(pod)));
        let there: Vec<_> = there.map(Event::Applied).collect();
        info!(
            known,
            there = there.len(),
            "the API server does not tell of this node's pods; those count that were known before and still have their cgroup"
        );
        Some(Event::Several(there))
    }

    fn is_there(&self, pod: &Pod) -> bool {
        let name = self.cgroups.file_name().unwrap_or_default().to_string_lossy();
        let key = pod.mirrors.or_else(|| PodKey::of_uid(pod.uid.as_str()));
        key.is_some_and(|key| places_of(&name, &key).any(|place| self.cgroups.join(place).is_dir()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::pods::Index;

    const UID: &str = "f2a1c3d4-0011-4abc-8def-0123456789ab";
    const GONE: &str = "00000000-0000-4000-8000-000000000000";

    #[test]
    fn those_count_whose_cgroup_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let cgroups = directory.path().join("kubepods");
        std::fs::create_dir_all(cgroups.join(format!("burstable/pod{UID}"))).unwrap();
        let pods = vec![Pod::fixture(UID, &[]), Pod::fixture(GONE, &[])];
        let mut remembered = Remembered { pods, cgroups };
        let mut index = Index::default();
        index.apply(remembered.take().unwrap());
        assert_eq!(index.len(), 1);
        assert!(index.pod(&PodKey::of_uid(UID).unwrap()).is_ok());
        assert!(!index.is_listed(), "it is not what the API server says");
        assert!(remembered.take().is_none() && remembered.is_empty());
    }
}
