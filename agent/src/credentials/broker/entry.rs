//! One session: its state, who may have it, who waits for it. Pure but for the answers that it sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::held::{Held, Now};
use super::limiter::Class;
use super::report::is_of_the_node;
use super::schedule::{backoff, remembered};
use super::{Answer, Credentials, FetchError, SessionRequest};
use crate::callers::pods::PodUid;

mod handed;

/// Between the refreshes of a session that is too short for its purpose.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// How long a pod waits for a refresh that is late before it is served what is held; SDKs give up after
/// a second.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest pause before the one retry that those who wait now may still see the end of.
const QUICK_RETRY: Duration = Duration::from_millis(250);

/// Where a session is.
#[derive(Debug, Default)]
pub(super) enum State {
    /// Nobody wants it.
    #[default]
    Absent,
    /// It will be fetched when it is due and its turn comes.
    Wanted {
        /// When.
        due: Instant,
    },
    /// It is being fetched.
    Fetching,
    /// It is there.
    Held {
        /// What is there.
        held: Arc<Held>,
        /// When it is to be refreshed, or that is to be tried again.
        due: Instant,
    },
    /// It is there, and a newer one is being fetched.
    Refreshing {
        /// What is there.
        held: Arc<Held>,
    },
    /// It could not be had.
    Refused {
        /// Why.
        error: FetchError,
        /// Until when that is the answer to who asks.
        until: Instant,
        /// When it is tried again although nobody asks; never after a refusal that would be repeated.
        retry: Option<Instant>,
    },
}

/// One who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Who.
    pub(super) pod: PodUid,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Waiter {
    /// A client that hung up no longer listens; that is no failure.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// A session and those that it concerns.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Where it is.
    pub(super) state: State,
    /// The pods that may have it, and whether it is kept for them although they do not ask.
    pub(super) pods: HashMap<PodUid, bool>,
    /// Fetches that failed since one succeeded.
    pub(super) failures: u32,
    /// Why the last one failed.
    pub(super) error: Option<FetchError>,
    /// Its place among those that came in the same instant.
    number: u64,
    waiting: Vec<Waiter>,
    /// Until when those who wait would rather wait than have what is held.
    patience: Option<Instant>,
    /// Whether anybody asked since the last fetch that succeeded.
    asked: bool,
    /// The same, of those who took it without asking.
    taken: Arc<AtomicBool>,
    /// Whether facts changed while it is being fetched, so that a refusal may be of yesterday.
    again: bool,
}

impl Entry {
    /// One that nobody may have yet.
    pub(super) fn new(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// Whether it is to be had: somebody asked, or it is kept for somebody.
    fn is_wanted(&self) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        self.asked || taken || self.pods.values().any(|kept| *kept)
    }

    /// Whether a fetch is under way.
    pub(super) fn is_fetching(&self) -> bool {
        matches!(self.state, State::Fetching | State::Refreshing { .. })
    }

    /// Whether it is held or being fetched.
    pub(super) fn is_there(&self) -> bool {
        self.is_fetching() || matches!(self.state, State::Held { .. })
    }

    /// What is held, while it may be served.
    pub(super) fn servable(&self, now: Now) -> Option<&Arc<Held>> {
        match &self.state {
            State::Held { held, .. } | State::Refreshing { held } => {
                Some(held).filter(|held| held.is_servable(now))
            }
            State::Absent | State::Wanted { .. } | State::Fetching | State::Refused { .. } => None,
        }
    }

    /// What those leave behind who take it without asking.
    pub(super) fn taken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.taken)
    }

    /// When it wants to be fetched.
    pub(super) fn due(&self) -> Option<Instant> {
        self.planned().filter(|_| self.is_wanted())
    }

    /// When it would be fetched if it is wanted then.
    fn planned(&self) -> Option<Instant> {
        match self.state {
            State::Wanted { due } | State::Held { due, .. } => Some(due),
            State::Refused { retry, .. } => retry,
            State::Absent | State::Fetching | State::Refreshing { .. } => None,
        }
    }

    /// The next time after this one at which it must be looked at although nothing happens.
    pub(super) fn wake(&self, now: Now) -> Option<Instant> {
        let wakes = [self.planned(), self.patience].into_iter().flatten();
        wakes.filter(|wake| *wake > now.instant).min()
    }

    /// Who goes first: pods that wait, then what ends first, then what was wanted first.
    pub(super) fn rank(&self, now: Now) -> (Class, Duration, Option<Instant>, u64) {
        let (class, left) = match &self.state {
            State::Held { held, .. } if self.waiting.is_empty() => (Class::Ahead, held.left(now)),
            State::Held { held, .. } => (Class::Asked, held.left(now)),
            _ if self.asked => (Class::Asked, Duration::ZERO),
            _ => (Class::Ahead, Duration::MAX),
        };
        (class, left, self.due(), self.number)
    }

    /// Lets `pod` have it; `due`, if it is to be fetched although nobody asks.
    pub(super) fn join(&mut self, pod: PodUid, due: Option<Instant>) {
        self.pods.insert(pod, due.is_some());
        let Some(at) = due else { return };
        match &mut self.state {
            State::Absent => self.state = State::Wanted { due: at },
            State::Wanted { due } => *due = at.min(*due),
            State::Refused { until, retry, .. } => *retry = Some(retry.unwrap_or(at.max(*until))),
            State::Fetching | State::Held { .. } | State::Refreshing { .. } => {}
        }
    }

    /// Takes it from `pod`, who waits in vain now. Whether anybody is left.
    pub(super) fn leave(&mut self, pod: &PodUid) -> bool {
        self.pods.remove(pod);
        self.waiting.retain(|waiter| waiter.pod != *pod);
        if self.pods.is_empty() {
            // What nobody may have is not kept; a fetch goes on, so that its key has one at a time.
            self.asked = false;
            self.taken = Arc::default();
            self.state = if self.is_fetching() { State::Fetching } else { State::Absent };
        }
        !self.pods.is_empty()
    }

    /// Facts that a refusal may have been due to have changed.
    pub(super) fn reconsider(&mut self, now: Now) {
        match &mut self.state {
            State::Refused { .. } => self.state = self.without(now.instant),
            State::Held { due, .. } if self.failures > 0 => *due = now.instant,
            State::Fetching | State::Refreshing { .. } => self.again = true,
            State::Absent | State::Wanted { .. } | State::Held { .. } => {}
        }
        self.failures = 0;
    }

    /// The state in which nothing is there.
    fn without(&self, due: Instant) -> State {
        if self.is_wanted() { State::Wanted { due } } else { State::Absent }
    }

    /// Answers, or lets wait. Who asks waits for a refresh that is late, unless AWS `is_failing`.
    pub(super) fn ask(&mut self, waiter: Waiter, now: Now, is_failing: bool) {
        self.asked = true;
        self.expire(now);
        match &mut self.state {
            State::Held { held, .. } | State::Refreshing { held }
                if is_failing || self.failures > 0 || held.left(now) >= held.floor =>
            {
                return waiter.answer(Ok(Arc::clone(&held.credentials)));
            }
            State::Held { due, .. } => {
                *due = now.instant.min(*due);
                self.patience = Some(now.instant + PATIENCE);
            }
            State::Refreshing { .. } => self.patience = Some(now.instant + PATIENCE),
            State::Refused { error, until, .. } if now.instant < *until => {
                return waiter.answer(Err(error.clone()));
            }
            // Who asks again and again keeps its place.
            State::Wanted { due } => *due = now.instant.min(*due),
            State::Absent | State::Refused { .. } => {
                self.state = State::Wanted { due: now.instant };
            }
            State::Fetching => {}
        }
        // Clients that hung up would pile up while AWS hangs.
        if self.waiting.len() >= 64 {
            self.waiting.retain(|waiter| !waiter.reply.is_closed());
        }
        self.waiting.push(waiter);
    }

    /// The fetch has begun.
    pub(super) fn start(&mut self) {
        self.state = match std::mem::take(&mut self.state) {
            State::Held { held, .. } | State::Refreshing { held } => State::Refreshing { held },
            _ => State::Fetching,
        };
    }

    /// The fetch has ended. What came of it, whether or not anything else is still held.
    pub(super) fn finish(
        &mut self,
        request: &SessionRequest,
        result: Result<Credentials, FetchError>,
        now: Now,
        chance: [f64; 2],
    ) -> Answer {
        let [spread, retry] = chance;
        let held = result.and_then(|credentials| {
            Held::new(credentials, request, now, spread)
                .ok_or(FetchError::Unusable("its credentials end within a minute, or have ended"))
        });
        let again = std::mem::take(&mut self.again);
        match held {
            Ok(held) => {
                let credentials = Arc::clone(&held.credentials);
                let due = held.refresh_at(now).max(now.instant + REFRESH_PAUSE);
                (self.failures, self.error, self.asked) = (0, None, false);
                self.taken = Arc::default();
                self.state = State::Held { held: Arc::new(held), due };
                self.answer_all(&Ok(Arc::clone(&credentials)));
                Ok(credentials)
            }
            Err(error) => {
                self.fail(&error, again, now, [spread, retry]);
                Err(error)
            }
        }
    }

    /// Whether it is to be had now and neither there nor refused for good.
    pub(super) fn is_unsettled(&self, now: Now) -> bool {
        let unsettled = match &self.state {
            State::Wanted { due } => *due <= now.instant,
            State::Fetching => true,
            State::Refused { error, .. } => is_of_the_node(error),
            State::Absent | State::Held { .. } | State::Refreshing { .. } => false,
        };
        unsettled && self.is_wanted()
    }

    fn fail(&mut self, error: &FetchError, again: bool, now: Now, [memory, retry]: [f64; 2]) {
        self.error = Some(error.clone());
        if again {
            // Facts changed since it was asked: the answer is of no use to anybody.
            self.state = match std::mem::take(&mut self.state) {
                State::Refreshing { held } => State::Held { held, due: now.instant },
                _ => self.without(now.instant),
            };
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let memory = remembered(error, memory);
        let until = now.instant + memory;
        let next = match error.refusal() {
            // Somebody is to mend it, who needs some minutes.
            Some(_) => now.instant + memory * self.failures.min(8),
            None => until.max(now.instant + backoff(self.failures, retry)),
        };
        match std::mem::take(&mut self.state) {
            State::Refreshing { held } if held.is_servable(now) => {
                self.answer_all(&Ok(Arc::clone(&held.credentials)));
                self.state = State::Held { held, due: next };
            }
            _ if self.failures == 1 && self.has_reason_to_retry(error) => {
                self.state = State::Wanted { due: now.instant + QUICK_RETRY.mul_f64(retry) };
            }
            _ => {
                let retry = error.refusal().is_none().then_some(next);
                self.state = State::Refused { error: error.clone(), until, retry };
                self.answer_all(&Err(error.clone()));
            }
        }
    }

    /// A single failure is most often one of one connection or one server.
    fn has_reason_to_retry(&self, error: &FetchError) -> bool {
        matches!(error, FetchError::Unavailable(_))
            && self.waiting.iter().any(|waiter| !waiter.reply.is_closed())
    }

    fn answer_all(&mut self, answer: &Answer) {
        self.patience = None;
        for waiter in self.waiting.drain(..) {
            waiter.answer(answer.clone());
        }
    }

    /// Drops what has ended, and serves what is held to those who would wait no longer.
    pub(super) fn look(&mut self, now: Now) {
        self.expire(now);
        if self.patience.is_some_and(|patience| patience <= now.instant)
            && let State::Held { held, .. } | State::Refreshing { held } = &self.state
        {
            let credentials = Arc::clone(&held.credentials);
            self.answer_all(&Ok(credentials));
        }
    }

    /// The time of day jumped: what was planned by what was left is planned anew.
    pub(super) fn replan(&mut self, now: Now) {
        self.expire(now);
        if let State::Held { held, due } = &mut self.state {
            *due = held.refresh_at(now).min(*due);
        }
        if self.failures > 0 {
            self.reconsider(now);
        }
    }

    fn expire(&mut self, now: Now) {
        let (State::Held { held, .. } | State::Refreshing { held }) = &self.state else { return };
        if held.is_servable(now) {
            return;
        }
        self.patience = None;
        self.state = match (std::mem::take(&mut self.state), self.error.clone()) {
            (State::Refreshing { .. }, _) => State::Fetching,
            (State::Held { due, .. }, Some(error)) => {
                State::Refused { error, until: now.instant, retry: Some(due) }
            }
            (State::Held { due, .. }, None) => self.without(due),
            (state, _) => state,
        };
    }
}
