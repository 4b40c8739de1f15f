//! What the programs refused and dropped, for metrics and for log lines: forwarded packets by the name
//! of the interface that they came in by.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podrole_ebpf::Event;
use tracing::{info, warn};

use crate::operate::metrics::{INTERFACES, KernelCounts, OTHER_INTERFACES, POD_INTERFACES};
use crate::report::Chain;

use super::Counters;
use super::interfaces::{Kind, Link, Links, Watch};

/// Log lines about interfaces at a time.
const LINES: usize = 5;

/// Reads what the programs counted.
pub struct Drops {
    counters: Counters,
    named: Mutex<Named>,
    told: Mutex<Counted>,
}

/// What was counted at one moment.
struct Counted {
    events: [u64; Event::ALL.len()],
    forwarded: BTreeMap<u32, u64>,
}

impl Drops {
    /// Reads these counters.
    #[must_use]
    pub fn new(counters: Counters) -> Self {
        let told = Mutex::new(Counted::by(&counters));
        Self { counters, named: Mutex::default(), told }
    }

    /// Logs what was refused or dropped since the last call.
    pub(super) async fn tell(&self, interfaces: &Watch) {
        match interfaces.look().await {
            Ok(links) => {
                self.tell_by(&links);
                self.learn(&links);
            }
            Err(error) => warn!(error = %Chain(&error), "drops cannot be told of; trying again"),
        }
    }

    fn tell_by(&self, links: &Links) {
        let now = Counted::by(&self.counters);
        let mut told = lock(&self.told);
        for ((event, total), before) in Event::ALL.iter().zip(now.events).zip(told.events) {
            let since = total.saturating_sub(before);
            let is_told_here = !matches!(event, Event::Redirected | Event::ForwardDropped);
            if since > 0 && is_told_here {
                info!(?event, since, total, "refused or dropped");
            }
        }
        tell_of_forwarded(grown(&told.forwarded, &now.forwarded), links);
        *told = now;
    }

    /// Takes the interfaces as they are now. What came in by one that is gone is kept here and leaves
    /// the map, which has room for so many only.
    fn learn(&self, links: &Links) {
        let mut named = lock(&self.named);
        let series = links.iter().map(|(index, link)| (*index, series_of(link).into()));
        for gone in named.learn(series.collect(), &self.counters.forwarded()) {
            self.counters.forget_forwarded(gone);
        }
    }
}

impl Counted {
    fn by(counters: &Counters) -> Self {
        let events = Event::ALL.map(|event| counters.of(event));
        Self { events, forwarded: counters.forwarded() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is whole before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KernelCounts for Drops {
    fn of(&self, event: Event) -> u64 {
        self.counters.of(event)
    }

    fn audited(&self, event: Event) -> u64 {
        self.counters.audited(event)
    }

    fn forward_drops(&self) -> BTreeMap<Arc<str>, u64> {
        // Locked first: no interface leaves the map in between.
        let mut named = lock(&self.named);
        named.by_series(&self.counters.forwarded())
    }
}

/// By how much which count has grown, the most first.
fn grown(before: &BTreeMap<u32, u64>, now: &BTreeMap<u32, u64>) -> Vec<(u32, u64)> {
    let before = |index| before.get(index).copied().unwrap_or_default();
    let grown = now.iter().map(|(index, now)| (*index, now.saturating_sub(before(index))));
    let mut grown: Vec<_> = grown.filter(|(_, since)| *since > 0).collect();
    grown.sort_by_key(|(_, since)| Reverse(*since));
    grown
}

fn tell_of_forwarded(grown: Vec<(u32, u64)>, links: &Links) {
    let more = grown.len().saturating_sub(LINES);
    for (index, since) in grown.into_iter().take(LINES) {
        match links.get(&index) {
            Some(Link { name, kind: Kind::Pod }) => info!(
                interface = %name,
                since,
                "dropped packets to the metadata service that came from a pod past its own sockets"
            ),
            Some(Link { name, kind: Kind::Loopback | Kind::Other }) => info!(
                interface = %name,
                since,
                "dropped packets to the metadata service that came in by {name}; if what is behind it (as Docker's containers behind docker0) should keep the node's role, give --guard-exempt-interface {name}, but never an interface that pods come in by"
            ),
            None => info!(
                index,
                since,
                "dropped packets to the metadata service that came in by an interface that is gone"
            ),
        }
    }
    if more > 0 {
        info!(interfaces = more, "more interfaces by which such packets came in");
    }
}

/// Pods' interfaces come and go, so all are one series.
fn series_of(link: &Link) -> &str {
    if link.kind == Kind::Pod { POD_INTERFACES } else { &link.name }
}

/// Series by the index of an interface. A count never moves from one series to another and none
/// shrinks: Prometheus takes a counter that shrinks for one that began anew.
#[derive(Default)]
struct Named {
    /// The series that would be right for each interface that is there.
    present: BTreeMap<u32, Arc<str>>,
    /// The series that counts of an interface went to, and go to from then on.
    given: BTreeMap<u32, Arc<str>>,
    /// Counts of interfaces that are gone.
    gone: BTreeMap<Arc<str>, u64>,
}

impl Named {
    /// Takes the interfaces that are there, and the counts of those that are not any more; gives their
    /// indexes.
    fn learn(&mut self, present: BTreeMap<u32, Arc<str>>, counts: &BTreeMap<u32, u64>) -> Vec<u32> {
        let gone: Vec<_> =
            counts.iter().filter(|(index, _)| !present.contains_key(index)).collect();
        for (index, count) in &gone {
            let series = self.series(**index).unwrap_or_else(|| OTHER_INTERFACES.into());
            *self.gone.entry(series).or_default() += **count;
            self.given.remove(index);
        }
        self.present = present;
        gone.into_iter().map(|(index, _)| *index).collect()
    }

    /// The counts by series, leaving out interfaces that are too new to be known.
    fn by_series(&mut self, counts: &BTreeMap<u32, u64>) -> BTreeMap<Arc<str>, u64> {
        let mut sums = self.gone.clone();
        for (index, count) in counts {
            if let Some(series) = self.series(*index) {
                *sums.entry(series).or_default() += count;
            }
        }
        sums
    }

    fn series(&mut self, index: u32) -> Option<Arc<str>> {
        if let Some(given) = self.given.get(&index) {
            return Some(Arc::clone(given));
        }
        let right = self.present.get(&index)?;
        let used = self.given.values().chain(self.gone.keys()).map(|series| &**series);
        let own: BTreeSet<&str> = used.filter(|series| !is_shared(series)).collect();
        let fits = is_shared(right) || own.contains(&**right) || own.len() < INTERFACES;
        let series = if fits { Arc::clone(right) } else { OTHER_INTERFACES.into() };
        self.given.insert(index, Arc::clone(&series));
        Some(series)
    }
}

/// Whether a series stands for many interfaces.
fn is_shared(series: &str) -> bool {
    [POD_INTERFACES, OTHER_INTERFACES].contains(&series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present<const N: usize>(links: [(u32, &str); N]) -> BTreeMap<u32, Arc<str>> {
        links.map(|(index, series)| (index, series.into())).into()
    }

    fn sums(named: &mut Named, counts: &[(u32, u64)]) -> Vec<(String, u64)> {
        let counts = counts.iter().copied().collect();
        named.by_series(&counts).into_iter().map(|(name, sum)| (name.to_string(), sum)).collect()
    }

    #[test]
    fn an_interface_that_is_not_known_yet_is_told_of_later() {
        let mut named = Named::default();
        assert!(sums(&mut named, &[(3, 1)]).is_empty());
        assert!(named.learn(present([(3, "docker0")]), &[(3, 1)].into()).is_empty());
        assert_eq!(sums(&mut named, &[(3, 2)]), [("docker0".to_owned(), 2)]);
    }

    #[test]
    fn what_came_in_by_an_interface_that_is_gone_still_counts() {
        let mut named = Named::default();
        named.learn(present([(3, "pods"), (4, "pods")]), &BTreeMap::new());
        assert_eq!(sums(&mut named, &[(3, 5), (4, 2)]), [("pods".to_owned(), 7)]);
        assert_eq!(named.learn(present([(4, "pods")]), &[(3, 6), (4, 2)].into()), [3]);
        assert_eq!(sums(&mut named, &[(4, 2)]), [("pods".to_owned(), 8)]);
        assert_eq!(named.learn(BTreeMap::new(), &[(4, 2), (9, 1)].into()), [4, 9]);
        let all = [("other".to_owned(), 1), ("pods".to_owned(), 8)];
        assert_eq!(sums(&mut named, &[]), all);
    }

    #[test]
    fn an_interface_that_has_gone_before_anybody_looked_keeps_its_name() {
        let mut named = Named::default();
        named.learn(present([(3, "br-1")]), &BTreeMap::new());
        named.learn(BTreeMap::new(), &[(3, 1)].into());
        assert_eq!(sums(&mut named, &[]), [("br-1".to_owned(), 1)]);
    }

    #[test]
    fn there_are_never_more_series_than_are_allowed() {
        let mut named = Named::default();
        for index in 0..100 {
            let series = format!("br-{index}");
            named.learn(present([(index, &series)]), &BTreeMap::new());
            named.learn(BTreeMap::new(), &[(index, 1)].into());
        }
        named.learn(present([(200, "pods"), (201, "br-3"), (202, "br-99")]), &BTreeMap::new());
        let all = sums(&mut named, &[(200, 1), (201, 1), (202, 1)]);
        assert_eq!(all.len(), INTERFACES + 2, "{all:?}");
        assert!(all.contains(&("br-3".to_owned(), 2)) && all.contains(&("pods".to_owned(), 1)));
        assert_eq!(all.iter().map(|(_, sum)| sum).sum::<u64>(), 103);
    }

    #[test]
    fn growth_is_told_by_how_much_the_most_first() {
        let before = [(1, 5), (2, 5)].into();
        let now = [(1, 6), (2, 5), (3, 9)].into();
        assert_eq!(grown(&before, &now), [(3, 9), (1, 1)]);
    }
}
