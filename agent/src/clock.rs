//! The time of day, as a value that tests can hold still.

use std::sync::Arc;
use std::time::SystemTime;

/// Tells the time of day. Durations are measured by `tokio::time::Instant` instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The kernel's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the kernel")]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// Starts at `start` and advances with tokio's clock, which tests pause.
    #[cfg(test)]
    pub(crate) fn starting_at(start: SystemTime) -> Self {
        let began = tokio::time::Instant::now();
        Self(Arc::new(move || start + began.elapsed()))
    }

    /// As [`Self::starting_at`], and ahead by as many seconds as the second value says.
    #[cfg(test)]
    pub(crate) fn jumping_from(start: SystemTime) -> (Self, Arc<std::sync::atomic::AtomicI64>) {
        let steady = Self::starting_at(start);
        let ahead = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let jumped = Arc::clone(&ahead);
        let now = move || {
            let seconds = jumped.load(std::sync::atomic::Ordering::SeqCst);
            let by = std::time::Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { steady.now() - by } else { steady.now() + by }
        };
        (Self(Arc::new(now)), ahead)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
