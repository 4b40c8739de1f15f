//! What the programs are told of pods: what is done with those of the node, and with single ones where
//! that is something else.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use aya::maps::{HashMap, Map, MapData};
use podrole_ebpf::{PodMode, map, subject};

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

/// What the programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Redirect and guard.
    Enforce,
    /// Let go on, and count.
    Audit,
    /// As [`Self::Enforce`], but that open connections may end.
    Changing,
    /// Refuse, until it is known what the pod is.
    Refuse,
    /// Leave alone: it is the node.
    Node,
}

/// What is said of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is done with it.
    pub doing: Doing,
    /// Whether it is in the node's network namespace.
    pub host_network: bool,
}

/// Whom it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Every pod of which nothing is said.
    Node,
    /// What no pod's own socket tells whose it is: let go only where no pod is enforced.
    Wire,
    /// The pod with this cgroup.
    Pod(CgroupId),
}

/// The programs' map.
#[derive(Debug)]
pub struct Modes(HashMap<MapData, u64, Plain<PodMode>>);

impl Modes {
    /// The map that was pinned when the programs were loaded.
    pub(super) fn open(directory: &PinDirectory) -> Result<Self, KernelError> {
        let pinned = MapData::from_pin(directory.pin(map::MODES));
        let opened = pinned.and_then(|data| HashMap::try_from(Map::HashMap(data)));
        opened.map(Self).map_err(|error| failed(map::MODES, error))
    }

    /// What the programs go by now, an earlier agent's words too.
    #[must_use]
    pub fn told(&self) -> BTreeMap<Subject, Entry> {
        let entries = self.0.iter().filter_map(Result::ok);
        entries.filter_map(|(id, Plain(mode))| Some((subject_of(id)?, read(mode)?))).collect()
    }

    /// Says it from now on; `None` is the node's mode for a pod, and `Enforce` for the others.
    ///
    /// # Errors
    /// Where the kernel does not take it.
    pub fn tell(&mut self, about: Subject, entry: Option<Entry>) -> Result<(), KernelError> {
        let id = id_of(about);
        let told = match entry {
            Some(entry) => self.0.insert(id, Plain(written(entry)), 0),
            None => self.0.remove(&id),
        };
        told.map_err(|error| failed(map::MODES, error))
    }
}

/// Cgroups that are enforced whatever holds for the node: the self-test's.
#[derive(Debug)]
pub struct Enforced(Mutex<Modes>);

impl Enforced {
    /// The same map.
    pub(super) fn open(directory: &PinDirectory) -> Result<Self, KernelError> {
        Modes::open(directory).map(|modes| Self(Mutex::new(modes)))
    }

    /// From now on, or no longer.
    pub(super) fn set(&self, CgroupId(id): CgroupId, enforced: bool) -> Result<(), KernelError> {
        // The kernel has the data; a panic while it was locked leaves nothing half-done.
        let mut modes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = Plain(PodMode { mode: PodMode::TEST, host_network: 0 });
        let told = if enforced { modes.0.insert(id, mode, 0) } else { modes.0.remove(&id) };
        told.map_err(|error| failed(map::MODES, error))
    }
}

fn subject_of(id: u64) -> Option<Subject> {
    match id {
        subject::NODE => Some(Subject::Node),
        subject::WIRE => Some(Subject::Wire),
        subject::PROXY => None,
        id => Some(Subject::Pod(CgroupId(id))),
    }
}

fn id_of(about: Subject) -> u64 {
    match about {
        Subject::Node => subject::NODE,
        Subject::Wire => subject::WIRE,
        Subject::Pod(CgroupId(id)) => id,
    }
}

/// Nothing of what others say here: of the agent's own pod, the pods' cgroup and the self-test.
fn read(PodMode { mode, host_network }: PodMode) -> Option<Entry> {
    let doing = match mode {
        PodMode::ENFORCE => Doing::Enforce,
        PodMode::AUDIT => Doing::Audit,
        PodMode::CHANGING => Doing::Changing,
        PodMode::REFUSE => Doing::Refuse,
        PodMode::NODE => Doing::Node,
        _ => return None,
    };
    Some(Entry { doing, host_network: host_network == 1 })
}

fn written(Entry { doing, host_network }: Entry) -> PodMode {
    let mode = match doing {
        Doing::Enforce => PodMode::ENFORCE,
        Doing::Audit => PodMode::AUDIT,
        Doing::Changing => PodMode::CHANGING,
        Doing::Refuse => PodMode::REFUSE,
        Doing::Node => PodMode::NODE,
    };
    PodMode { mode, host_network: host_network.into() }
}
