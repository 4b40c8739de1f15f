//! A thread beside the runtime that ends the process where the runtime does nothing any more: a process that
//! only looks alive would be left alone by kubelet.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// Between two beats of the runtime.
const BEAT: Duration = Duration::from_millis(500);
/// Between two looks of the thread.
const LOOK: Duration = Duration::from_secs(1);
/// So many looks in a row without a beat are too many.
const PATIENCE: u32 = 10;

/// Beats as long as the runtime runs.
#[derive(Debug)]
pub struct Heart(Arc<AtomicU64>);

/// Starts to look. The time is counted in looks: while the process is stopped (SIGSTOP, a suspended node)
/// nobody looks, and it is not taken for dead.
///
/// # Errors
/// Where there can be no thread.
pub fn start() -> io::Result<Heart> {
    let beats = Arc::new(AtomicU64::new(0));
    let heart = Heart(Arc::clone(&beats));
    thread::Builder::new().name("watchdog".into()).spawn(move || {
        let mut count = Count::default();
        while count.goes_on(beats.load(Ordering::Relaxed)) {
            thread::park_timeout(LOOK);
        }
        end();
    })?;
    Ok(heart)
}

impl Heart {
    /// Beats for ever, where the agent's main task waits: so it beats for that, and for the threads that
    /// wake it.
    pub async fn beat(self) -> Infallible {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Looks without a beat.
#[derive(Debug, Default)]
struct Count {
    last: u64,
    missed: u32,
}

impl Count {
    /// Takes one look.
    fn goes_on(&mut self, beats: u64) -> bool {
        if std::mem::replace(&mut self.last, beats) == beats {
            self.missed += 1;
        } else {
            self.missed = 0;
        }
        self.missed < PATIENCE
    }
}

/// What has stopped the runtime may be that nobody reads what it writes, so nobody waits for this to be
/// read either.
fn end() -> ! {
    let said = thread::Builder::new().spawn(|| {
        let _ = writeln!(
            io::stderr(),
            "podrole: nothing has gone on in this agent for {PATIENCE} s; it ends (SIGABRT) to be started anew. Please report this"
        );
    });
    if said.is_ok() {
        thread::park_timeout(LOOK);
    }
    process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_looks_in_a_row_without_a_beat_are_the_end() {
        let mut count = Count::default();
        for beats in 1..=5 {
            assert!(count.goes_on(beats));
            assert!((1..PATIENCE).all(|_| count.goes_on(beats)), "one that is late is not dead");
        }
        assert!(count.goes_on(6) && (1..PATIENCE).all(|_| count.goes_on(6)));
        assert!(!count.goes_on(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_heart_beats_twice_a_second() {
        let beats = Arc::new(AtomicU64::new(0));
        let heart = Heart(Arc::clone(&beats));
        let _ = tokio::time::timeout(Duration::from_millis(1900), heart.beat()).await;
        assert_eq!(beats.load(Ordering::Relaxed), 4);
    }
}
