//! Which Events were told lately. Pure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Reason;

/// One for each object and reason in this time.
const EVERY: Duration = Duration::from_hours(1);
/// After a write that failed.
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// Objects and reasons that are remembered: a node has 110 pods or so, and each few reasons.
const ENTRIES_MAX: usize = 4096;

type Key = (Box<str>, Reason);

/// When each may be told again.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<Key, Instant>);

impl Memory {
    /// Whether it is to be told now; from then on it is not, for an hour.
    pub(super) fn is_due(&mut self, key: Key, now: Instant) -> bool {
        if self.0.get(&key).is_some_and(|until| now < *until) {
            return false;
        }
        if self.0.len() >= ENTRIES_MAX {
            self.0.retain(|_, until| now < *until);
        }
        let has_room = self.0.len() < ENTRIES_MAX;
        if has_room {
            self.0.insert(key, now + EVERY);
        }
        has_room
    }

    /// It could not be written: it may be told again soon, and not at once.
    pub(super) fn failed(&mut self, key: Key, now: Instant) {
        self.0.insert(key, now + AFTER_FAILURE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uid: &str) -> Key {
        (uid.into(), Reason::RoleRefused)
    }

    #[test]
    fn one_for_each_object_and_reason_an_hour() {
        let mut memory = Memory::default();
        let start = Instant::now();
        assert!(memory.is_due(key("a"), start));
        assert!(!memory.is_due(key("a"), start + EVERY - Duration::from_millis(1)));
        assert!(memory.is_due(("a".into(), Reason::AssumeRoleFailed), start));
        assert!(memory.is_due(key("b"), start));
        assert!(memory.is_due(key("a"), start + EVERY));
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_after_a_minute() {
        let mut memory = Memory::default();
        let start = Instant::now();
        assert!(memory.is_due(key("a"), start));
        memory.failed(key("a"), start);
        assert!(!memory.is_due(key("a"), start + Duration::from_secs(59)));
        assert!(memory.is_due(key("a"), start + AFTER_FAILURE));
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let told = (0..2 * ENTRIES_MAX).filter(|n| memory.is_due(key(&n.to_string()), start));
        assert_eq!(told.count(), ENTRIES_MAX);
        assert!(memory.is_due(key("new"), start + EVERY));
        assert_eq!(memory.0.len(), 1);
    }
}
