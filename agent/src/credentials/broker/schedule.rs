//! When a session is refreshed, and how long a failure is remembered. Pure: chance comes in as a
//! number from 0 to 1.

use std::time::Duration;

use crate::credentials::{FetchError, SessionRequest};

/// Credentials that end sooner are not served: clients would use them past their end.
pub(super) const LEAST_LEFT: Duration = Duration::from_mins(1);
/// What credentials served have left, of a session of an hour: more than any SDK's own window, within
/// which it would ask again and again (botocore's is 15 min and up to 10 min more).
const FLOOR: Duration = Duration::from_mins(25);
/// Refreshes start so much before the floor: from 5 to 10 min of an hour.
const MARGIN: f64 = 1.0 / 12.0;
const HOUR: Duration = Duration::from_hours(1);
/// How long EKS's sessions of 6 h are kept, as its own agent does: that is how changes of an
/// association arrive.
const POD_IDENTITY_KEPT: Duration = Duration::from_hours(3);
/// The first step and the longest of the pauses between retries.
const BACKOFF: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// The longest that a session of this request can last; EKS alone decides that of its own.
pub(super) fn asked_for(request: &SessionRequest) -> Option<Duration> {
    match request {
        SessionRequest::AssumeRole(request) => Some(request.duration),
        SessionRequest::WebIdentity(request) => Some(request.duration),
        SessionRequest::PodIdentity(_) => None,
    }
}

/// How long a session of this request is kept at most, if not for most of its life.
pub(super) fn kept(request: &SessionRequest) -> Option<Duration> {
    matches!(request, SessionRequest::PodIdentity(_)).then_some(POD_IDENTITY_KEPT)
}

/// What a session of this lifetime has left while STS answers: 25 min of an hour, half of less.
pub(super) fn floor(lifetime: Duration) -> Duration {
    FLOOR.min(lifetime / 2)
}

/// What a session has left when it is refreshed: 30 to 35 min of an hour or more, the like of less.
pub(super) fn refresh_left(lifetime: Duration, kept: Option<Duration>, chance: f64) -> Duration {
    let margin = lifetime.min(HOUR).mul_f64(MARGIN * (1.0 + chance));
    let left = floor(lifetime).max(LEAST_LEFT) + margin;
    // Drawn early by a tenth, so that pods that came together do not stay together.
    let aged = kept.map(|kept| lifetime.saturating_sub(kept.mul_f64(1.0 - chance / 10.0)));
    left.max(aged.unwrap_or_default())
}

/// How long a failure is told again without asking AWS: a refusal 30 to 60 s, all else 1 to 5 s.
pub(super) fn remembered(error: &FetchError, chance: f64) -> Duration {
    let seconds = if error.refusal().is_some() { 30.0 + 30.0 * chance } else { 1.0 + 4.0 * chance };
    Duration::from_secs_f64(seconds)
}

/// The pause before the retry that follows this many failures in a row: exponential, with full jitter
/// (AWS Architecture Blog, "Exponential Backoff And Jitter").
pub(super) fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    BACKOFF.saturating_mul(doubled).min(BACKOFF_MAX).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn sessions_of_an_hour_or_more_are_refreshed_at_30_to_35_minutes_left() {
        for lifetime in [HOUR, 3 * HOUR, 12 * HOUR] {
            assert_eq!(floor(lifetime), 25 * MINUTE);
            assert_eq!(refresh_left(lifetime, None, 0.0), 30 * MINUTE);
            assert_eq!(refresh_left(lifetime, None, 1.0), 35 * MINUTE);
        }
    }

    #[test]
    fn shorter_sessions_are_refreshed_before_half_is_gone() {
        assert_eq!(floor(15 * MINUTE), Duration::from_secs(450));
        assert_eq!(refresh_left(15 * MINUTE, None, 0.0), Duration::from_secs(525));
        assert_eq!(refresh_left(15 * MINUTE, None, 1.0), Duration::from_mins(10));
        // Of an answer that came a second late, and of clocks some minutes apart.
        assert_eq!(floor(59 * MINUTE), 25 * MINUTE);
        for seconds in 0..7200 {
            let lifetime = Duration::from_secs(seconds);
            let left = refresh_left(lifetime, None, 0.0);
            assert!(left >= floor(lifetime) && left >= LEAST_LEFT, "{lifetime:?}");
        }
    }

    #[test]
    fn sessions_of_pod_identity_are_kept_for_3_hours() {
        let left = |chance| refresh_left(6 * HOUR, Some(POD_IDENTITY_KEPT), chance);
        assert_eq!(left(0.0), 3 * HOUR);
        assert_eq!(left(1.0), 3 * HOUR + 18 * MINUTE);
        // With a target role they last 59 min.
        let left = refresh_left(59 * MINUTE, Some(POD_IDENTITY_KEPT), 0.0);
        assert!((25 * MINUTE..30 * MINUTE).contains(&left), "{left:?}");
    }

    #[test]
    fn pauses_grow_to_a_minute_and_are_anywhere_in_it() {
        let longest: Vec<u64> = (1..9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(longest, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_MAX);
        assert_eq!(backoff(3, 0.25), Duration::from_secs(2));
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }
}
