//! What is to be told to the programs, in which order, so that no pod is for an instant what it shall
//! not be. Pure.
//!
//! From audit to enforce a pod goes by way of [`Doing::Changing`]: nothing new gets through from its
//! beginning on, and what is open has a while to end. The other way is one step.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::kernel::{CgroupId, Doing, Entry, Subject};
use crate::roles::Mode;

/// How long open requests may take to end. SDKs give up after a second.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// What holds for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What an earlier agent said, if one did: the API server has not told of the pod.
    Earlier,
    /// This mode.
    Mode(Mode),
    /// This, of a pod in the node's network namespace.
    Said(Entry),
}

/// The changes that are going on.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    until: BTreeMap<Subject, Instant>,
}

/// What the programs are told of.
type Told = BTreeMap<Subject, Entry>;

impl Plan {
    /// When the next of the changes is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// What is to be told now. After it was, there may be more: none when all is said.
    pub(super) fn steps(
        &mut self,
        node: Mode,
        pods: &BTreeMap<CgroupId, Wanted>,
        told: &Told,
        now: Instant,
    ) -> Vec<(Subject, Option<Entry>)> {
        let node_is = told.get(&Subject::Node).map_or(Doing::Enforce, |entry| entry.doing);
        let node_shall = doing(node);
        let mut steps = Vec::new();
        let wire_is = told.get(&Subject::Wire).map_or(Doing::Enforce, |entry| entry.doing);
        let is_strict = node_shall != Doing::Audit || is_any_held(pods, told);
        if is_strict && wire_is != Doing::Enforce {
            steps.push((Subject::Wire, Some(of_pod(Doing::Enforce))));
        }
        for (id, wanted) in pods {
            let (about, entry) = (Subject::Pod(*id), told.get(&Subject::Pod(*id)).copied());
            let is = entry.map_or(node_is, |entry| entry.doing);
            let shall = match wanted {
                Wanted::Earlier => continue,
                Wanted::Said(said) => {
                    Some(Entry { doing: self.towards(about, is, said.doing, now), ..*said })
                }
                // It follows the node, once that is there.
                Wanted::Mode(mode) if doing(*mode) == node_shall => match entry {
                    None => None,
                    Some(entry) if entry.doing == node_shall && node_is == node_shall => None,
                    Some(_) => Some(of_pod(self.towards(about, is, node_shall, now))),
                },
                Wanted::Mode(mode) => Some(of_pod(self.towards(about, is, doing(*mode), now))),
            };
            if entry != shall {
                steps.push((about, shall));
            }
        }
        let towards = self.towards(Subject::Node, node_is, node_shall, now);
        if towards != node_is {
            steps.push((Subject::Node, Some(of_pod(towards))));
        }
        let gone = told.keys().filter(|about| match about {
            Subject::Pod(id) => !pods.contains_key(id),
            Subject::Node | Subject::Wire => false,
        });
        steps.extend(gone.map(|about| (*about, None)));
        if !is_strict && node_is == Doing::Audit && wire_is != Doing::Audit {
            steps.push((Subject::Wire, Some(of_pod(Doing::Audit))));
        }
        self.until.retain(|about, _| match about {
            Subject::Pod(id) => pods.contains_key(id),
            Subject::Node | Subject::Wire => true,
        });
        steps
    }

    /// The next step from what `is` to what `shall` be.
    fn towards(&mut self, about: Subject, is: Doing, shall: Doing, now: Instant) -> Doing {
        let until = match (is, shall) {
            (Doing::Audit, Doing::Enforce) => *self.until.entry(about).or_insert(now + OPEN_FOR),
            // One that an earlier agent began is over.
            (Doing::Changing, Doing::Enforce) => self.until.get(&about).copied().unwrap_or(now),
            _ => now,
        };
        if until > now {
            return Doing::Changing;
        }
        self.until.remove(&about);
        shall
    }
}

/// What the programs do with pods in this mode. Without programs everything goes on.
fn doing(mode: Mode) -> Doing {
    match mode {
        Mode::Enforce => Doing::Enforce,
        Mode::Audit | Mode::Off => Doing::Audit,
    }
}

fn of_pod(doing: Doing) -> Entry {
    Entry { doing, host_network: false }
}

/// Whether a pod is enforced although the node is not.
fn is_any_held(pods: &BTreeMap<CgroupId, Wanted>, told: &Told) -> bool {
    let holds = |doing| matches!(doing, Doing::Enforce | Doing::Changing | Doing::Refuse);
    pods.iter().any(|(id, wanted)| match wanted {
        Wanted::Mode(mode) => holds(doing(*mode)),
        Wanted::Said(entry) => holds(entry.doing),
        Wanted::Earlier => told.get(&Subject::Pod(*id)).is_some_and(|entry| holds(entry.doing)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: CgroupId = CgroupId(7);
    const ABOUT: Subject = Subject::Pod(POD);

    /// The programs' map, told by a plan.
    #[derive(Default)]
    struct Map {
        plan: Plan,
        told: Told,
    }

    impl Map {
        /// All steps until none is left, each as (whom, what).
        fn settle(
            &mut self,
            node: Mode,
            pods: &[(CgroupId, Wanted)],
            now: Instant,
        ) -> Vec<(Subject, Option<Doing>)> {
            let pods = pods.iter().copied().collect();
            let mut all = Vec::new();
            loop {
                let steps = self.plan.steps(node, &pods, &self.told, now);
                if steps.is_empty() {
                    return all;
                }
                for (about, entry) in steps {
                    all.push((about, entry.map(|entry| entry.doing)));
                    match entry {
                        Some(entry) => self.told.insert(about, entry),
                        None => self.told.remove(&about),
                    };
                }
                assert!(all.len() < 20, "it never settles: {all:?}");
            }
        }

        fn pod(&self) -> Doing {
            let entry = self.told.get(&ABOUT).or_else(|| self.told.get(&Subject::Node));
            entry.map_or(Doing::Enforce, |entry| entry.doing)
        }
    }

    fn now() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_node_that_enforces_from_its_start_is_told_nothing() {
        let mut map = Map::default();
        let pods = [(POD, Wanted::Mode(Mode::Enforce))];
        assert_eq!(map.settle(Mode::Enforce, &pods, now()), []);
    }

    #[test]
    fn to_audit_is_one_step_and_back_leaves_open_connections_a_while() {
        let (mut map, start) = (Map::default(), now());
        let (audit, enforce) =
            ([(POD, Wanted::Mode(Mode::Audit))], [(POD, Wanted::Mode(Mode::Enforce))]);
        let (node, wire) = (Subject::Node, Subject::Wire);
        assert_eq!(
            map.settle(Mode::Audit, &audit, start),
            [(node, Some(Doing::Audit)), (wire, Some(Doing::Audit))]
        );
        assert_eq!(
            map.settle(Mode::Enforce, &enforce, start),
            [(wire, Some(Doing::Enforce)), (node, Some(Doing::Changing))],
            "the wire first"
        );
        assert_eq!(map.plan.next(), Some(start + OPEN_FOR));
        assert_eq!(map.settle(Mode::Enforce, &enforce, start), []);
        let then = map.settle(Mode::Enforce, &enforce, start + OPEN_FOR);
        assert_eq!(then, [(node, Some(Doing::Enforce))]);
        assert_eq!(map.plan.next(), None);
    }

    #[test]
    fn a_pod_that_stays_as_it_is_never_follows_the_node() {
        for (pod, doing) in [(Mode::Enforce, Doing::Enforce), (Mode::Audit, Doing::Audit)] {
            let (mut map, start) = (Map::default(), now());
            let pods = [(POD, Wanted::Mode(pod))];
            map.settle(pod, &pods, start);
            let other = if pod == Mode::Audit { Mode::Enforce } else { Mode::Audit };
            for (node, after) in [(other, 0), (other, 5), (pod, 6), (pod, 12)] {
                let steps = map.settle(node, &pods, start + Duration::from_secs(after));
                let pod_first = steps.iter().position(|(about, _)| *about == ABOUT);
                let node_first = steps.iter().position(|(about, _)| *about == Subject::Node);
                if node == other && after == 0 {
                    assert!(pod_first < node_first, "{steps:?}");
                }
                assert_eq!(map.pod(), doing, "{node} after {after}: {steps:?}");
            }
            assert!(!map.told.contains_key(&ABOUT), "it follows the node again");
        }
    }

    #[test]
    fn one_namespace_at_a_time_goes_to_enforce_on_a_node_in_audit() {
        let (mut map, start) = (Map::default(), now());
        map.settle(Mode::Audit, &[(POD, Wanted::Mode(Mode::Audit))], start);
        let pods = [(POD, Wanted::Mode(Mode::Enforce))];
        assert_eq!(
            map.settle(Mode::Audit, &pods, start),
            [(Subject::Wire, Some(Doing::Enforce)), (ABOUT, Some(Doing::Changing))]
        );
        map.settle(Mode::Audit, &pods, start + OPEN_FOR);
        assert_eq!(map.pod(), Doing::Enforce);
        let gone = map.settle(Mode::Audit, &[], start + OPEN_FOR);
        assert_eq!(gone, [(ABOUT, None), (Subject::Wire, Some(Doing::Audit))]);
    }

    #[test]
    fn what_an_earlier_agent_said_stays_until_the_pod_is_known() {
        let (mut map, start) = (Map::default(), now());
        map.settle(Mode::Audit, &[(POD, Wanted::Mode(Mode::Enforce))], start);
        let held = map.pod();
        assert_eq!(held, Doing::Enforce, "nothing of an enforced pod was open");
        map.plan = Plan::default();
        assert_eq!(map.settle(Mode::Audit, &[(POD, Wanted::Earlier)], start), []);
        assert_eq!(map.pod(), held);
    }

    #[test]
    fn a_change_that_an_earlier_agent_began_is_over() {
        let (mut map, start) = (Map::default(), now());
        map.told.insert(Subject::Node, of_pod(Doing::Changing));
        map.settle(Mode::Enforce, &[], start);
        assert_eq!(map.pod(), Doing::Enforce);
    }

    #[test]
    fn a_host_network_pod_has_its_own_word_in_enforce() {
        let (mut map, start) = (Map::default(), now());
        let entry = Entry { doing: Doing::Refuse, host_network: true };
        let steps = map.settle(Mode::Enforce, &[(POD, Wanted::Said(entry))], start);
        assert_eq!(steps, [(ABOUT, Some(Doing::Refuse))]);
        let steps = map.settle(Mode::Audit, &[(POD, Wanted::Mode(Mode::Audit))], start);
        assert_eq!(steps.first(), Some(&(ABOUT, Some(Doing::Audit))));
        assert_eq!(map.pod(), Doing::Audit);
        assert!(!map.told.contains_key(&ABOUT));
    }
}
