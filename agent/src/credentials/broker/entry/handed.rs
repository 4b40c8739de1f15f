//! What an entry takes from the agent before this one, and what it leaves to the next.

use std::sync::Arc;

use super::{Entry, FetchError, Held, Now, REFRESH_PAUSE, SessionRequest, State};
use crate::credentials::handed::HandedRefusal;

impl Entry {
    /// Holds what another agent held, unless what is there ends later.
    pub(in crate::credentials::broker) fn take_over(&mut self, handed: Held, now: Now) {
        let expires = |held: &Held| held.credentials.expiration;
        if self.servable(now).is_some_and(|held| expires(held) >= expires(&handed)) {
            return;
        }
        (self.failures, self.error, self.asked) = (0, None, false);
        self.taken = Arc::default();
        self.answer_all(&Ok(Arc::clone(&handed.credentials)));
        let due = handed.refresh_at(now).max(now.instant + REFRESH_PAUSE);
        let held = Arc::new(handed);
        self.state = match self.state {
            State::Fetching | State::Refreshing { .. } => State::Refreshing { held },
            _ => State::Held { held, due },
        };
    }

    /// Remembers what was refused to another agent, where this one knows no better.
    pub(in crate::credentials::broker) fn take_refusal(
        &mut self,
        handed: &HandedRefusal,
        now: Now,
    ) {
        // Who waits is not told one whose time is over.
        let is_over = handed.left.is_zero() && !self.waiting.is_empty();
        if is_over || !matches!(self.state, State::Absent | State::Wanted { .. }) {
            return;
        }
        let (code, message) = (&*handed.code, &*handed.message);
        let error = FetchError::Refused { code: code.into(), message: message.into() };
        (self.failures, self.error) = (handed.failures, Some(error.clone()));
        self.answer_all(&Err(error.clone()));
        self.state = State::Refused { error, until: now.instant + handed.left, retry: None };
    }

    /// For the agent that comes after this one.
    pub(in crate::credentials::broker) fn hand_over_refusal(
        &self,
        request: &SessionRequest,
        now: Now,
    ) -> Option<HandedRefusal> {
        let State::Refused { error: FetchError::Refused { code, message }, until, .. } =
            &self.state
        else {
            return None;
        };
        Some(HandedRefusal {
            request: request.clone(),
            code: (**code).into(),
            message: (**message).into(),
            left: until.saturating_duration_since(now.instant),
            failures: self.failures,
        })
    }
}
