//! Waiting for a condition with a deadline: the one place in the tests that pauses between two looks.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long anything that takes no time on an idle machine may take on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Names by how much an emulated machine is slower than a real one: what is waited for may take as much
/// longer.
const SLOWNESS: &str = "PODROLE_TEST_SLOWNESS";

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static WAS_INTERRUPTED: AtomicBool = AtomicBool::new(false);
static FINISHING: AtomicBool = AtomicBool::new(false);

/// Makes one wait of this process end with an error, now or as soon as there is one (Ctrl-C in the
/// demo). What is cleaned up after that error can wait again.
pub fn interrupt() {
    WAS_INTERRUPTED.store(true, Ordering::SeqCst);
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// Whether [`interrupt`] was called.
pub fn was_interrupted() -> bool {
    WAS_INTERRUPTED.load(Ordering::SeqCst)
}

/// From now on nothing is interrupted any more: only cleaning up is left.
pub fn finish() {
    FINISHING.store(true, Ordering::SeqCst);
}

/// Looks again and again until `look` finds something, and gives it.
///
/// # Errors
/// `look`'s own error at once; after `within`, an error that names `what` was awaited.
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let within = within * slowness();
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if INTERRUPTED.swap(false, Ordering::SeqCst) && !FINISHING.load(Ordering::SeqCst) {
            bail!("interrupted while waiting for {what}");
        }
        if Instant::now() >= deadline {
            bail!("waited {within:?} for {what}, in vain");
        }
        pause();
    }
}

/// [`until`] for a plain condition, with [`PATIENCE`].
pub fn until_true(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, PATIENCE, || Ok(look()?.then_some(())))
}

fn slowness() -> u32 {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = || std::env::var(SLOWNESS).ok().and_then(|factor| factor.parse().ok());
    *FACTOR.get_or_init(|| factor().unwrap_or(1))
}

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
fn pause() {
    std::thread::sleep(BETWEEN_LOOKS);
}
