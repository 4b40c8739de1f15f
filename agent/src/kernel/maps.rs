//! The maps that programs and agent share, pinned beside the links.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;

use aya::maps::{HashMap, Map, MapData, MapError, MapInfo, MapType, PerCpuArray};
use aya::{Ebpf, Pod};
use podrole_ebpf::{
    self as contract, Connection, Event, Numbers, PodMode, Port, Record, map, subject, wire_v6,
};

use super::{KernelError, PinDirectory};

/// A type of the contract as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<T: Copy>(pub(super) T);

// SAFETY: the contract's types are `repr(C)`, made of integers, and their asserted sizes leave no room
// for padding.
unsafe impl Pod for Plain<Connection> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Record> {}
// SAFETY: as above.
unsafe impl Pod for Plain<PodMode> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Port> {}

/// The name, kind, and sizes of key and value of each pinned map.
const PINNED: [(&str, MapType, usize, usize); 9] = [
    (map::MODES, MapType::Hash, 8, size_of::<PodMode>()),
    (map::RECORDS, MapType::LruHash, size_of::<Connection>(), size_of::<Record>()),
    (map::PORTS, MapType::LruHash, size_of::<Port>(), 16),
    (map::EVENTS, MapType::PerCpuArray, 4, 8),
    (map::FORWARDED, MapType::Hash, 4, 8),
    (map::NODE_ADDRESSES, MapType::Hash, 16, 1),
    (map::EXEMPT_INTERFACES, MapType::Hash, 4, 1),
    (map::BUCKETS, MapType::LruHash, 8, size_of::<contract::Bucket>()),
    (map::PASSING, MapType::LruHash, size_of::<Numbers>(), 1),
];

/// The names of the maps that outlive the agent.
pub(super) fn pinned() -> impl Iterator<Item = &'static str> {
    PINNED.into_iter().map(|(name, ..)| name)
}

/// Makes sure that what is pinned under our names is ours: aya would take up anything.
pub(super) fn check_pins(directory: &PinDirectory) -> Result<(), KernelError> {
    for (name, kind, key, value) in PINNED {
        let pin = directory.pin(name);
        let Some(info) = pinned_map(&pin)? else { continue };
        let same = info.map_type().is_ok_and(|found| found as u32 == kind as u32)
            && usize::try_from(info.key_size()).is_ok_and(|found| found == key)
            && usize::try_from(info.value_size()).is_ok_and(|found| found == value);
        if !same {
            return Err(KernelError::ForeignPin { pin });
        }
    }
    Ok(())
}

fn pinned_map(pin: &Path) -> Result<Option<MapInfo>, KernelError> {
    if !pin.exists() {
        return Ok(None);
    }
    MapInfo::from_pin(pin).map(Some).map_err(|_| KernelError::ForeignPin { pin: pin.to_owned() })
}

/// The id of a cgroup: the inode of its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(pub u64);

pub(super) fn wide(address: IpAddr) -> [u32; 4] {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    wire_v6(address.to_bits())
}

/// What the programs counted.
pub struct Counters {
    events: PerCpuArray<MapData, u64>,
    forwarded: Mutex<HashMap<MapData, u32, u64>>,
}

impl Counters {
    /// The sum over all CPUs of one event, since the programs were first attached.
    #[must_use]
    pub fn of(&self, event: Event) -> u64 {
        self.sum(event as u32)
    }

    /// The same, of what would have been done to pods in audit.
    #[must_use]
    pub fn audited(&self, event: Event) -> u64 {
        let enforced = u32::try_from(Event::ALL.len()).unwrap_or_default();
        self.sum(enforced + event as u32)
    }

    fn sum(&self, index: u32) -> u64 {
        self.events.get(&index, 0).map_or(0, |counts| counts.iter().sum())
    }

    /// Dropped packets by the index of the interface that they came in by.
    #[must_use]
    pub fn forwarded(&self) -> BTreeMap<u32, u64> {
        self.lock_forwarded().iter().filter_map(Result::ok).collect()
    }

    /// Makes room for the count of another interface.
    pub(super) fn forget_forwarded(&self, interface: u32) {
        // Gone already is as good.
        let _ = self.lock_forwarded().remove(&interface);
    }

    fn lock_forwarded(&self) -> std::sync::MutexGuard<'_, HashMap<MapData, u32, u64>> {
        // The kernel has the data, as in `Records`.
        self.forwarded.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Takes the counters' handles out of the loaded programs.
pub(super) fn take_counters(programs: &mut Ebpf) -> Result<Counters, KernelError> {
    let events = open(programs, map::EVENTS)?;
    let forwarded = Mutex::new(open(programs, map::FORWARDED)?);
    Ok(Counters { events, forwarded })
}

/// Says that the pod is left alone which this process is in.
pub(super) fn exempt(programs: &mut Ebpf, CgroupId(own): CgroupId) -> Result<(), KernelError> {
    let mode = PodMode { mode: PodMode::EXEMPT, host_network: 1 };
    let exempted = modes(programs)?.insert(own, Plain(mode), 0);
    exempted.map_err(|error| failed(map::MODES, error))
}

/// Says which pods are left alone, and forgets whom an earlier agent said so of.
pub(super) fn exempt_only(programs: &mut Ebpf, own: Option<CgroupId>) -> Result<(), KernelError> {
    let mut modes = modes(programs)?;
    let keep = own.map(|CgroupId(id)| id);
    let stale: Vec<u64> = modes
        .iter()
        .filter_map(Result::ok)
        .filter(|(id, Plain(mode))| mode.mode == PodMode::EXEMPT && Some(*id) != keep)
        .map(|(id, _)| id)
        .collect();
    for id in stale {
        modes.remove(&id).map_err(|error| failed(map::MODES, error))?;
    }
    if let Some(id) = keep {
        let mode = PodMode { mode: PodMode::EXEMPT, host_network: 1 };
        modes.insert(id, Plain(mode), 0).map_err(|error| failed(map::MODES, error))?;
    }
    Ok(())
}

/// Has programs send nobody to the proxy, or everybody again.
pub(super) fn refuse(programs: &mut Ebpf, refuse: bool) -> Result<(), KernelError> {
    let mode = if refuse { PodMode::REFUSE } else { PodMode::ENFORCE };
    let mode = Plain(PodMode { mode, host_network: 0 });
    modes(programs)?.insert(subject::PROXY, mode, 0).map_err(|error| failed(map::MODES, error))
}

/// Says which cgroup all pods are in, and no longer any that was it before.
pub(super) fn mark_pods(programs: &mut Ebpf, pods: CgroupId) -> Result<(), KernelError> {
    let mut modes = modes(programs)?;
    let is_stale = |id: u64, mode: PodMode| mode.mode == PodMode::PODS && id != pods.0;
    let stale: Vec<u64> = modes
        .iter()
        .filter_map(Result::ok)
        .filter(|(id, Plain(mode))| is_stale(*id, *mode))
        .map(|(id, _)| id)
        .collect();
    for id in stale {
        modes.remove(&id).map_err(|error| failed(map::MODES, error))?;
    }
    let mode = Plain(PodMode { mode: PodMode::PODS, host_network: 0 });
    modes.insert(pods.0, mode, 0).map_err(|error| failed(map::MODES, error))
}

fn modes(programs: &mut Ebpf) -> Result<HashMap<&mut MapData, u64, Plain<PodMode>>, KernelError> {
    let map = programs.map_mut(map::MODES).ok_or(KernelError::Missing(map::MODES))?;
    HashMap::try_from(map).map_err(|error| failed(map::MODES, error))
}

/// Tells the programs the node's own addresses, for kernels where they must know them.
pub(super) fn set_node_addresses(
    programs: &mut Ebpf,
    addresses: impl IntoIterator<Item = IpAddr>,
) -> Result<(), KernelError> {
    let mut known: HashMap<_, [u32; 4], u8> = open(programs, map::NODE_ADDRESSES)?;
    for address in addresses {
        let inserted = known.insert(wide(address), 1, 0);
        inserted.map_err(|error| failed(map::NODE_ADDRESSES, error))?;
    }
    Ok(())
}

/// Interfaces whose packets pass the forward guard.
pub(super) struct ExemptInterfaces(HashMap<MapData, u32, u8>);

impl ExemptInterfaces {
    pub(super) fn new(map: HashMap<MapData, u32, u8>) -> Self {
        Self(map)
    }

    /// Exactly these from now on.
    pub(super) fn set(&mut self, indexes: &[u32]) -> Result<(), KernelError> {
        let known: Vec<u32> = self.0.keys().filter_map(Result::ok).collect();
        for index in known.iter().filter(|index| !indexes.contains(index)) {
            self.0.remove(index).map_err(|error| failed(map::EXEMPT_INTERFACES, error))?;
        }
        for index in indexes.iter().filter(|index| !known.contains(index)) {
            self.0.insert(index, 1, 0).map_err(|error| failed(map::EXEMPT_INTERFACES, error))?;
        }
        Ok(())
    }
}

pub(super) fn open<M: TryFrom<Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<M, KernelError> {
    let map = programs.take_map(name).ok_or(KernelError::Missing(name))?;
    M::try_from(map).map_err(|error| failed(name, error))
}

pub(super) fn failed(name: &'static str, error: MapError) -> KernelError {
    KernelError::Syscall {
        call: "bpf(BPF_MAP_*)",
        object: format!("the map {name}"),
        mend: "",
        source: std::io::Error::other(error),
    }
}
