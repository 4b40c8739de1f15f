//! What the programs are told of pods in the node's network namespace, where those are held.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData};
use podrole_ebpf::{PodMode, map};

use super::maps::{Plain, failed};
use super::{CgroupId, KernelError, PinDirectory};

/// What a pod in the node's network namespace gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPod {
    /// The real metadata service: it is the node.
    Node,
    /// Redirected and guarded, as a pod with a network of its own.
    Held,
}

/// The programs' map of them. What is not in it is refused.
#[derive(Debug)]
pub struct HostPods(HashMap<MapData, u64, Plain<PodMode>>);

impl HostPods {
    /// The map that was pinned when the programs were loaded.
    pub(super) fn open(directory: &PinDirectory) -> Result<Self, KernelError> {
        let pinned = MapData::from_pin(directory.pin(map::MODES));
        let opened = pinned.and_then(|data| HashMap::try_from(Map::HashMap(data)));
        opened.map(Self).map_err(|error| failed(map::MODES, error))
    }

    /// What the programs go by now, an earlier agent's words too.
    #[must_use]
    pub fn told(&self) -> BTreeMap<CgroupId, HostPod> {
        let entries = self.0.iter().filter_map(Result::ok);
        entries.filter_map(|(id, Plain(mode))| Some((CgroupId(id), read(mode)?))).collect()
    }

    /// Says what one gets from now on; `None` refuses it.
    ///
    /// # Errors
    /// Where the kernel does not take it.
    pub fn tell(
        &mut self,
        CgroupId(id): CgroupId,
        pod: Option<HostPod>,
    ) -> Result<(), KernelError> {
        let told = match pod {
            Some(pod) => self.0.insert(id, Plain(written(pod)), 0),
            None => self.0.remove(&id),
        };
        told.map_err(|error| failed(map::MODES, error))
    }
}

fn read(mode: PodMode) -> Option<HostPod> {
    match mode {
        PodMode { mode: PodMode::NODE, .. } => Some(HostPod::Node),
        PodMode { mode: PodMode::ENFORCE, host_network: 1 } => Some(HostPod::Held),
        _ => None,
    }
}

fn written(pod: HostPod) -> PodMode {
    let mode = match pod {
        HostPod::Node => PodMode::NODE,
        HostPod::Held => PodMode::ENFORCE,
    };
    PodMode { mode, host_network: 1 }
}
