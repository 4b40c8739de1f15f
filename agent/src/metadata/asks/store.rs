//! The counts, kept bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::callers::pods::Pod;
use crate::callers::workload::Workload;
use crate::credentials::SessionRequest;
use crate::roles::Decision;

use super::Ask;

/// How many workloads are kept, several times those of a full node; who asked longest ago gives way.
const WORKLOADS: usize = 1024;
/// How many names of roles and how many paths are kept of each.
const NAMES: usize = 16;

/// Whose the counts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// The namespace.
    pub namespace: Box<str>,
    /// What the pods are of.
    #[serde(flatten)]
    pub workload: Workload,
    /// Their ServiceAccount.
    pub service_account: Box<str>,
}

/// What was asked for, how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// `IMDSv2` tokens.
    pub tokens: u64,
    /// The name of the role.
    pub role_lists: u64,
    /// Credentials, by the role that was named.
    pub credentials: BTreeMap<Box<str>, u64>,
    /// Other paths.
    pub others: BTreeMap<Box<str>, u64>,
    /// What found no room in the two before.
    pub more: u64,
}

/// What was decided last of a pod that is gone, and what would have been asked of AWS for it.
#[derive(Clone, Debug)]
pub struct Left {
    /// What was decided.
    pub decision: Decision,
    /// What would have been asked.
    pub request: Option<SessionRequest>,
}

/// What was asked for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Asks(Arc<Mutex<HashMap<Who, Known>>>);

#[derive(Debug)]
struct Known {
    counts: Counts,
    last: SystemTime,
    left: Option<Left>,
}

impl Who {
    /// The workload of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            workload: pod.workload.clone(),
            service_account: pod.service_account.clone(),
        }
    }
}

impl Asks {
    /// Counts what a pod asked for.
    pub(crate) fn note(&self, who: Who, ask: Ask, now: SystemTime) {
        let mut known = self.lock();
        if known.len() >= WORKLOADS && !known.contains_key(&who) {
            let longest_ago = known.iter().min_by_key(|(_, known)| known.last);
            if let Some(longest_ago) = longest_ago.map(|(who, _)| who.clone()) {
                known.remove(&longest_ago);
            }
        }
        let new = || Known { counts: Counts::default(), last: now, left: None };
        let known = known.entry(who).or_insert_with(new);
        known.counts.add(ask);
        known.last = now;
    }

    /// Takes in that a pod is gone, so that a job can still be told of that runs no more.
    pub fn leave(&self, who: &Who, left: Left) {
        if let Some(known) = self.lock().get_mut(who) {
            known.left = Some(left);
        }
    }

    /// What was decided last of workloads one of whose pods is gone.
    #[must_use]
    pub fn left(&self) -> HashMap<Who, Left> {
        let known = self.lock();
        known.iter().filter_map(|(who, known)| Some((who.clone(), known.left.clone()?))).collect()
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Who, Counts> {
        let known = self.lock();
        known.iter().map(|(who, known)| (who.clone(), known.counts.clone())).collect()
    }

    /// Takes up what an earlier agent counted.
    pub fn restore(&self, counts: BTreeMap<Who, Counts>, now: SystemTime) {
        let counts = counts.into_iter().take(WORKLOADS);
        let known = |(who, counts)| (who, Known { counts, last: now, left: None });
        self.lock().extend(counts.map(known));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Who, Known>> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, ask: Ask) {
        let named = match ask {
            Ask::Token => {
                self.tokens += 1;
                return;
            }
            Ask::RoleList => {
                self.role_lists += 1;
                return;
            }
            Ask::Credentials(role) => (&mut self.credentials, role),
            Ask::Other(path) => (&mut self.others, path),
        };
        let (map, name) = named;
        if map.len() < NAMES || map.contains_key(&name) {
            *map.entry(name).or_default() += 1;
        } else {
            self.more += 1;
        }
    }

    /// Adds what was counted on another node.
    pub fn merge(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.role_lists += other.role_lists;
        self.more += other.more;
        for (into, from) in
            [(&mut self.credentials, &other.credentials), (&mut self.others, &other.others)]
        {
            for (name, count) in from {
                *into.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Whether a role was asked for.
    #[must_use]
    pub fn wants_role(&self) -> bool {
        self.role_lists > 0 || !self.credentials.is_empty()
    }

    /// Whether a role was asked for and never a token.
    #[must_use]
    pub fn is_v1(&self) -> bool {
        self.wants_role() && self.tokens == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn who(name: &str) -> Who {
        Who::of(&Pod { name: name.into(), ..Pod::fixture(name, &[]) })
    }

    #[test]
    fn counts_are_of_workloads_and_bounded() {
        let asks = Asks::default();
        for number in 0..=WORKLOADS {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            asks.note(who(&format!("pod-{number}")), Ask::Token, now);
        }
        let all = asks.all();
        assert_eq!(all.len(), WORKLOADS);
        assert!(!all.contains_key(&who("pod-0")), "who asked longest ago");
        for number in 0..NAMES + 3 {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
            asks.note(who("pod-5"), Ask::Other(format!("path-{number}").into()), now);
        }
        let counts = &asks.all()[&who("pod-5")];
        assert_eq!((counts.others.len(), counts.more, counts.tokens), (NAMES, 3, 1));
    }

    #[test]
    fn who_never_asks_for_a_token_is_of_version_1() {
        let asks = Asks::default();
        let now = SystemTime::UNIX_EPOCH;
        asks.note(who("a"), Ask::RoleList, now);
        assert!(asks.all()[&who("a")].is_v1());
        asks.note(who("a"), Ask::Token, now);
        assert!(!asks.all()[&who("a")].is_v1());
    }
}
