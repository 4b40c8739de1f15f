//! What AWS taught about a role by refusing: kept for an hour, so that not every fetch is refused
//! first and a role that was mended is found out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::roles::RoleArn;

use super::handed::Learnt;

/// For how long.
const KEPT: Duration = Duration::from_hours(1);
/// More roles than a node's pods have; beyond it, what is oldest is forgotten.
const MOST: usize = 1024;
/// What every role's session may last (AWS STS API Reference, "AssumeRole": role chaining, and the
/// least that `MaxSessionDuration` can be).
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// A lesson about a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Lesson {
    /// Its sessions last an hour at most.
    AnHour,
    /// It takes no session tags.
    Untagged,
}

/// The lessons of the last hour.
#[derive(Debug, Default)]
pub(super) struct Learned(Mutex<HashMap<(RoleArn, Lesson), Instant>>);

impl Learned {
    pub(super) fn note(&self, role: &RoleArn, lesson: Lesson) {
        self.note_of(role, lesson, Duration::ZERO);
    }

    /// All, for the agent that comes after this one.
    pub(super) fn tell(&self) -> Vec<Learnt> {
        let known = self.known();
        let learnt = known.iter().map(|((role, lesson), noted)| Learnt {
            role: role.clone(),
            lesson: *lesson,
            age: noted.elapsed(),
        });
        learnt.collect()
    }

    /// What the agent before this one tells.
    pub(super) fn hear(&self, told: &[Learnt]) {
        for Learnt { role, lesson, age } in told {
            self.note_of(role, *lesson, *age);
        }
    }

    fn note_of(&self, role: &RoleArn, lesson: Lesson, age: Duration) {
        let mut known = self.known();
        let now = Instant::now();
        known.retain(|_, noted| now.duration_since(*noted) < KEPT);
        if known.len() >= MOST {
            let oldest = known.iter().min_by_key(|(_, noted)| **noted);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                known.remove(&oldest);
            }
        }
        if let Some(noted) = now.checked_sub(age) {
            known.insert((role.clone(), lesson), noted);
        }
    }

    pub(super) fn knows(&self, role: &RoleArn, lesson: Lesson) -> bool {
        let known = self.known();
        known.get(&(role.clone(), lesson)).is_some_and(|noted| noted.elapsed() < KEPT)
    }

    /// How long a session of `role` is asked for, where `wanted` is what is wished.
    pub(super) fn duration(&self, role: &RoleArn, wanted: Duration) -> Duration {
        if wanted > HOUR && self.knows(role, Lesson::AnHour) { HOUR } else { wanted }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(RoleArn, Lesson), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> RoleArn {
        format!("arn:aws:iam::123456789012:role/{name}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lesson_is_kept_for_an_hour() {
        let learned = Learned::default();
        let two = Duration::from_hours(2);
        assert_eq!(learned.duration(&role("web"), two), two);
        learned.note(&role("web"), Lesson::AnHour);
        assert_eq!(learned.duration(&role("web"), two), HOUR);
        assert_eq!(learned.duration(&role("web"), HOUR / 2), HOUR / 2);
        assert_eq!(learned.duration(&role("batch"), two), two);
        assert!(!learned.knows(&role("web"), Lesson::Untagged));
        tokio::time::advance(KEPT).await;
        assert_eq!(learned.duration(&role("web"), two), two);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lesson_that_is_told_on_is_no_younger() {
        tokio::time::advance(KEPT).await;
        let (old, new) = (Learned::default(), Learned::default());
        old.note(&role("web"), Lesson::Untagged);
        tokio::time::advance(KEPT / 2).await;
        new.hear(&old.tell());
        assert!(new.knows(&role("web"), Lesson::Untagged));
        tokio::time::advance(KEPT / 2).await;
        assert!(!new.knows(&role("web"), Lesson::Untagged));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_lessons_is_bounded() {
        let learned = Learned::default();
        for number in 0..=MOST {
            learned.note(&role(&number.to_string()), Lesson::Untagged);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(learned.known().len(), MOST);
        assert!(!learned.knows(&role("0"), Lesson::Untagged));
        assert!(learned.knows(&role(&MOST.to_string()), Lesson::Untagged));
    }
}
