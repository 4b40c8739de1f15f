//! The connections that left pods' sockets for the proxy, as the programs recorded them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError};
use podrole_ebpf::{Connection, Port, RECORDS_MAX, Record, map};
use rustix::time::{ClockId, clock_gettime};

use super::maps::{Plain, failed, wide};
use super::{CgroupId, KernelError, PinDirectory};

/// What the kernel saw of the connections on their way to the proxy.
#[derive(Debug)]
pub struct Records {
    own: RecordMaps,
    /// Those of another version's programs, which were in force until this agent's came.
    earlier: Vec<RecordMaps>,
}

/// How long a connection that another version's programs saw may wait until it is accepted: the hand-over
/// takes less.
const EARLIER_ARRIVE_WITHIN: Duration = Duration::from_secs(10);

/// The records of open connections.
type Open = HashMap<MapData, Plain<Connection>, Plain<Record>>;

/// The two maps that one version's programs write.
#[derive(Debug)]
struct RecordMaps {
    open: Mutex<Open>,
    /// The same map, to be walked while others take their records from it.
    walked: Open,
    ports: Mutex<HashMap<MapData, Plain<Port>, [u32; 4]>>,
}

/// Connections that left a pod and did not arrive in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The cgroup whose sockets they are.
    pub cgroup: CgroupId,
    /// How many.
    pub connections: u64,
}

impl Records {
    /// Those that this version's programs write, and those of the `earlier` versions whose pins are there
    /// and of a form that this one reads.
    pub(super) fn open(directory: &PinDirectory, earlier: &[PathBuf]) -> Result<Self, KernelError> {
        let own = RecordMaps::open(directory.path());
        let own = own.map_err(|error| failed(map::RECORDS, error))?;
        let earlier = earlier.iter().filter_map(|pins| RecordMaps::open(pins).ok()).collect();
        Ok(Self { own, earlier })
    }

    /// Takes the record of the connection that was accepted from `peer`: it is there before `accept`
    /// returns, and counts once.
    #[must_use]
    pub fn take(&self, peer: SocketAddr) -> Option<CgroupId> {
        let record = self.own.take(peer).or_else(|| {
            // Nobody sweeps those: of what is old, the connection never arrived.
            let after = monotonic().saturating_sub(EARLIER_ARRIVE_WITHIN);
            let is_young = |record: &Record| Duration::from_nanos(record.at) >= after;
            self.earlier.iter().find_map(|maps| maps.take(peer)).filter(is_young)
        });
        record.map(|record| CgroupId(record.cgroup))
    }

    /// Takes the record of a connection that one of these cgroups opened from `port`, whatever its
    /// source address was before the pod rewrote it; not one older than `age`, whose connection must
    /// have arrived or never will. The cgroups are those that may stand in [`Port::pod`].
    #[must_use]
    pub fn take_rewritten(&self, pods: &[CgroupId], port: u16, age: Duration) -> Option<CgroupId> {
        self.all().find_map(|maps| maps.take_rewritten(pods, port, age))
    }

    /// Takes the records older than `age`, whose connections never arrived, and counts them by cgroup.
    #[must_use]
    pub fn take_lost(&self, age: Duration) -> Vec<Lost> {
        let Some(before) = monotonic().checked_sub(age) else { return Vec::new() };
        let mut lost = BTreeMap::<CgroupId, u64>::new();
        for record in self.own.take_all(|record| Duration::from_nanos(record.at) < before) {
            *lost.entry(CgroupId(record.cgroup)).or_default() += 1;
        }
        lost.into_iter().map(|(cgroup, connections)| Lost { cgroup, connections }).collect()
    }

    /// Forgets the connections of one cgroup.
    pub(super) fn forget(&self, cgroup: CgroupId) {
        let _ = self.own.take_all(|record| record.cgroup == cgroup.0);
    }

    fn all(&self) -> impl Iterator<Item = &RecordMaps> {
        [&self.own].into_iter().chain(&self.earlier)
    }
}

impl RecordMaps {
    fn open(directory: &Path) -> Result<Self, MapError> {
        let records = || pinned(&directory.join(map::RECORDS)).and_then(Open::try_from);
        let ports = pinned(&directory.join(map::PORTS)).and_then(HashMap::try_from)?;
        Ok(Self { open: Mutex::new(records()?), walked: records()?, ports: Mutex::new(ports) })
    }

    fn take(&self, peer: SocketAddr) -> Option<Record> {
        let key = Plain(connection(peer));
        let mut records = self.lock();
        let Plain(record) = records.get(&key, 0).ok()?;
        // Gone already is as good.
        let _ = records.remove(&key);
        Some(record)
    }

    fn take_rewritten(&self, pods: &[CgroupId], port: u16, age: Duration) -> Option<CgroupId> {
        let after = monotonic().saturating_sub(age);
        pods.iter().find_map(|CgroupId(pod)| {
            let address = self.take_port(Port { pod: *pod, port: port.into(), zero: 0 })?;
            let key = Plain(Connection { address, port: port.into() });
            let mut records = self.lock();
            let Plain(record) = records.get(&key, 0).ok()?;
            let is_its = record.pod == *pod && Duration::from_nanos(record.at) >= after;
            // Gone already is as good.
            is_its.then(|| records.remove(&key)).map(|_| CgroupId(record.cgroup))
        })
    }

    fn take_port(&self, port: Port) -> Option<[u32; 4]> {
        // As in `lock`.
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let address = ports.get(&Plain(port), 0).ok()?;
        let _ = ports.remove(&Plain(port));
        Some(address)
    }

    fn take_all(&self, is_meant: impl Fn(&Record) -> bool) -> Vec<Record> {
        let meant: Vec<_> = self
            .walked
            .iter()
            // Where the record that it stands at gives way to another, the kernel begins anew; those who
            // wait for their own must not wait for ever.
            .take(RECORDS_MAX)
            .filter_map(Result::ok)
            .filter(|(_, Plain(record))| is_meant(record))
            .collect();
        // One that was taken meanwhile has arrived.
        let taken = meant.into_iter().filter(|(key, _)| self.lock().remove(key).is_ok());
        taken.map(|(_, Plain(record))| record).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The kernel has the data; a panic while it was locked leaves nothing half-done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pinned(pin: &Path) -> Result<Map, MapError> {
    MapData::from_pin(pin).map(Map::LruHashMap)
}

/// `CLOCK_MONOTONIC`, as `bpf_ktime_get_ns` reads it.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

fn connection(peer: SocketAddr) -> Connection {
    Connection { address: wide(peer.ip()), port: peer.port().into() }
}
