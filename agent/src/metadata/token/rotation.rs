//! The keys that are in use, and their change: now and then there is a new one, and the one before it
//! counts on for as long as a token of it can live.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::sync::watch as channel;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info};

use crate::clock::Clock;
use crate::metadata::protocol::Ttl;
use crate::operate::duty::Duty;
use crate::report::Chain;

use super::{Binding, Invalid, IssueError, KeyError, Keys, Valid, key_file};

/// How long a key signs. Far longer than a token lives, so that two keys are all there ever are.
const CHANGE_AFTER: Duration = Duration::from_hours(30 * 24);
/// How often the age of the key is looked at.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// The keys in use. Cheap to clone; reading them waits for nothing but another reader of the pointer.
#[derive(Clone, Debug)]
pub struct Keyring(channel::Receiver<Keys>);

/// Changes the keys when their time has come; to be run as long as the agent.
#[derive(Debug)]
pub(crate) struct Rotation {
    keys: channel::Sender<Keys>,
    state_dir: PathBuf,
    clock: Clock,
}

impl Keyring {
    /// Reads the keys from `state_dir`, making one where there is none.
    ///
    /// # Errors
    /// What is wrong with the file, and what to do about it.
    pub(crate) fn open(state_dir: PathBuf, clock: Clock) -> Result<(Self, Rotation), KeyError> {
        let (keys, reader) = channel::channel(Keys::open(&state_dir, clock.now())?);
        Ok((Self(reader), Rotation { keys, state_dir, clock }))
    }

    /// See [`Keys::issue`].
    pub(crate) fn issue(
        &self,
        binding: &Binding<'_>,
        ttl: Ttl,
        now: SystemTime,
    ) -> Result<String, IssueError> {
        self.0.borrow().issue(binding, ttl, now)
    }

    /// See [`Keys::check`].
    pub(crate) fn check(
        &self,
        token: &[u8],
        binding: &Binding<'_>,
        now: SystemTime,
    ) -> Result<Valid, Invalid> {
        self.0.borrow().check(token, binding, now)
    }
}

impl Rotation {
    /// Changes the key whenever it is old, while on duty, for ever. Where that fails the present one signs on.
    pub(crate) async fn run(self, mut duty: Duty) {
        loop {
            if !duty.is_on() {
                duty.begins().await;
                // Another agent had the file until now.
                if let Ok(keys) = Keys::open(&self.state_dir, self.clock.now()) {
                    self.keys.send_replace(keys);
                }
            }
            if self.is_due() {
                self.change().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_due(&self) -> bool {
        let created = self.keys.borrow().current.created;
        self.clock.now().duration_since(created).is_ok_and(|age| age >= CHANGE_AFTER)
    }

    async fn change(&self) {
        let (state_dir, now) = (self.state_dir.clone(), self.clock.now());
        match spawn_blocking(move || key_file::change(&state_dir, now)).await {
            Ok(Ok(keys)) => {
                self.keys.send_replace(keys);
                info!("tokens are signed with a new key; those of the old one count on");
            }
            Ok(Err(error)) => {
                error!(error = %Chain(&error), "the key of tokens cannot be changed; the old one signs on");
            }
            Err(error) => error!(%error, "changing the key of tokens panicked; please report this"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Binding<'static> = Binding::Pod("0b6bfa2c-8c4e-4a55-9f61-5d2f3a0f1b9e");

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
    }

    struct Bench {
        state: tempfile::TempDir,
        clock: Clock,
        keyring: Keyring,
        rotation: Rotation,
    }

    fn bench() -> Bench {
        let state = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(start());
        let (keyring, rotation) = Keyring::open(state.path().to_owned(), clock.clone()).unwrap();
        Bench { state, clock, keyring, rotation }
    }

    impl Bench {
        fn token(&self) -> String {
            self.keyring.issue(&POD, Ttl::MAX, self.clock.now()).unwrap()
        }

        fn counts(&self, token: &str) -> bool {
            self.keyring.check(token.as_bytes(), &POD, self.clock.now()).is_ok()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_key_is_left_alone() {
        let bench = bench();
        sleep(CHANGE_AFTER.saturating_sub(Duration::from_secs(1))).await;
        assert!(!bench.rotation.is_due());
        sleep(Duration::from_secs(1)).await;
        assert!(bench.rotation.is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_of_the_old_key_count_to_their_end() {
        let bench = bench();
        sleep(CHANGE_AFTER).await;
        let old = bench.token();
        bench.rotation.change().await;
        let new = bench.token();
        assert!(bench.counts(&old) && bench.counts(&new));
        assert!(!bench.rotation.is_due());
        // Another agent, which reads the file, knows both.
        let (again, _) = Keyring::open(bench.state.path().to_owned(), bench.clock.clone()).unwrap();
        for token in [&old, &new] {
            assert!(again.check(token.as_bytes(), &POD, bench.clock.now()).is_ok());
        }
        sleep(Duration::from_secs(6 * 3600 - 1)).await;
        assert!(bench.counts(&old) && bench.counts(&new));
        sleep(Duration::from_secs(1)).await;
        assert!(!bench.counts(&old));
        assert!(bench.counts(&bench.token()));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_two_keys() {
        let bench = bench();
        let first = bench.token();
        for _ in 0..3 {
            sleep(CHANGE_AFTER).await;
            bench.rotation.change().await;
        }
        let text = std::fs::read_to_string(bench.state.path().join("token-key")).unwrap();
        assert_eq!(text.lines().count(), 3, "a title and two keys");
        assert!(!bench.counts(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_cannot_be_changed_signs_on() {
        let bench = bench();
        let path = bench.state.path().join("token-key");
        std::fs::write(&path, "something else").unwrap();
        sleep(CHANGE_AFTER).await;
        let token = bench.token();
        bench.rotation.change().await;
        assert!(bench.counts(&token) && bench.counts(&bench.token()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else");
    }
}
