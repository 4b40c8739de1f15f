//! How often this node asks AWS: a token bucket whose rate falls by half when AWS throttles or fails
//! and grows by steps while it answers (AIMD, as TCP does). Pure.
//!
//! Its own, because the rate moves: the crate `governor` fixes a quota when a limiter is made.

use std::time::Duration;

use tokio::time::Instant;

/// Requests a second while all is well.
const FULL: f64 = 20.0;
/// Requests a second, however long AWS has been failing: 5,000 nodes that all wait for an outage to end
/// make 500.
const LEAST: f64 = 0.1;
/// What the bucket holds, in seconds of its rate: 250 pods may start at once.
const HOLDS: f64 = 12.5;
/// What an answer adds to the rate.
const STEP: f64 = 0.2;
/// What a second without failure adds to the rate: it is full again after half an hour.
const MENDING: f64 = FULL / 1800.0;
/// Failures that come together count once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Who wants to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A pod is waiting.
    Asked,
    /// Nobody is waiting yet: half of the bucket is kept for those who will.
    Ahead,
}

/// The node's rate.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: f64,
    tokens: f64,
    at: Instant,
    slowed: Option<Instant>,
    failing: bool,
}

impl Limiter {
    /// Full.
    pub(super) fn new(now: Instant) -> Self {
        Self { rate: FULL, tokens: FULL * HOLDS, at: now, slowed: None, failing: false }
    }

    /// Requests a second that are allowed now.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the last answer that said anything of AWS itself was a failure.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The time when there may be one.
    pub(super) fn take(&mut self, class: Class, now: Instant) -> Result<(), Instant> {
        self.refill(now);
        let needed = match class {
            Class::Asked => 1.0,
            Class::Ahead => (self.holds() / 2.0).max(1.0),
        };
        if self.tokens < needed {
            let pause = Duration::from_secs_f64((needed - self.tokens) / self.rate);
            return Err(now + pause.max(Duration::from_millis(1)));
        }
        self.tokens -= 1.0;
        Ok(())
    }

    /// AWS throttled or failed.
    pub(super) fn slow_down(&mut self, now: Instant) {
        self.refill(now);
        self.failing = true;
        if self.slowed.is_some_and(|slowed| now < slowed + AT_ONCE) {
            return;
        }
        self.slowed = Some(now);
        self.rate = (self.rate / 2.0).max(LEAST);
        self.tokens = self.tokens.min(self.holds());
    }

    /// AWS answered.
    pub(super) fn speed_up(&mut self, now: Instant) {
        self.refill(now);
        self.failing = false;
        self.rate = (self.rate + STEP).min(FULL);
    }

    fn holds(&self) -> f64 {
        (self.rate * HOLDS).max(1.0)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.holds());
        self.rate = (self.rate + passed * MENDING).min(FULL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(limiter: &mut Limiter, class: Class, now: Instant) -> usize {
        std::iter::from_fn(|| limiter.take(class, now).ok()).count()
    }

    #[test]
    fn a_full_bucket_serves_250_who_ask_and_half_of_that_ahead() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        assert_eq!(taken(&mut limiter, Class::Ahead, now), 126);
        assert_eq!(taken(&mut limiter, Class::Asked, now), 124);
        assert_eq!(taken(&mut limiter, Class::Asked, now + SECOND), 20);
    }

    #[test]
    fn who_must_wait_is_told_when() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        taken(&mut limiter, Class::Asked, now);
        let at = limiter.take(Class::Asked, now).unwrap_err();
        assert_eq!(at, now + Duration::from_millis(50));
        limiter.take(Class::Asked, at).unwrap();
        let at = limiter.take(Class::Ahead, at).unwrap_err();
        limiter.take(Class::Ahead, at + Duration::from_millis(1)).unwrap();
    }

    #[test]
    fn failures_halve_the_rate_once_a_second_and_answers_mend_it() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        for _ in 0..50 {
            limiter.slow_down(start);
        }
        assert!((limiter.rate() - 10.0).abs() < 0.01);
        assert_eq!(taken(&mut limiter, Class::Asked, start), 125);
        let mut now = start;
        for _ in 0..20 {
            now += SECOND;
            limiter.slow_down(now);
        }
        assert!((LEAST..0.2).contains(&limiter.rate()), "{}", limiter.rate());
        for _ in 0..10 {
            limiter.speed_up(now);
        }
        assert!((2.0..2.3).contains(&limiter.rate()), "{}", limiter.rate());
        limiter.refill(now + Duration::from_mins(30));
        assert!((limiter.rate() - FULL).abs() < 0.01);
    }

    #[test]
    fn an_outage_is_probed_at_less_than_an_eighth_a_second() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(now);
        let mut asked = 0;
        let hour = now + Duration::from_hours(1);
        let settled = now + Duration::from_mins(5);
        while now < hour {
            match limiter.take(Class::Asked, now) {
                Ok(()) => {
                    asked += u32::from(now > settled);
                    limiter.slow_down(now);
                    now += Duration::from_millis(100);
                }
                Err(at) => now = at,
            }
        }
        assert!((300..420).contains(&asked), "{asked} in 55 minutes");
    }
}
