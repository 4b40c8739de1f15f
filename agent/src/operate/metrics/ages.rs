//! How long ago something was: told at the moment of the scrape, whenever it was noted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A moment, if there was one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Since(Arc<Mutex<Option<Instant>>>);

impl Since {
    /// Notes it.
    pub fn set(&self, at: Option<Instant>) {
        *lock(&self.0) = at;
    }

    /// How long ago it was; nothing if it never was.
    pub(super) fn age(&self) -> Duration {
        lock(&self.0).map_or(Duration::ZERO, |at| at.elapsed())
    }
}

/// What is watched of the API server, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// This node's pods.
    Pods,
    /// Their Namespaces.
    Namespaces,
    /// Their service accounts.
    ServiceAccounts,
    /// Associations that name them.
    RoleAssociations,
}

impl Watched {
    pub(super) const ALL: [Self; 4] =
        [Self::Pods, Self::Namespaces, Self::ServiceAccounts, Self::RoleAssociations];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::ServiceAccounts => "serviceaccounts",
            Self::RoleAssociations => "roleassociations",
        }
    }
}

/// When the API server was heard of last, by each watch that there is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<Live>>);

#[derive(Debug, Default)]
struct Live {
    begun: u64,
    heard: HashMap<u64, (Watched, Instant)>,
}

/// One watch, as long as it is wanted.
#[derive(Debug)]
pub struct Word {
    watches: Watches,
    number: u64,
}

impl Watches {
    /// A watch begins, and has heard nothing yet.
    #[must_use]
    pub fn begin(&self, what: Watched) -> Word {
        let mut live = lock(&self.0);
        live.begun += 1;
        let number = live.begun;
        live.heard.insert(number, (what, Instant::now()));
        Word { watches: self.clone(), number }
    }

    /// Of all watches of a kind, how long the one is silent that is silent longest; nothing if there is none.
    pub(super) fn silence(&self, what: Watched) -> Duration {
        let live = lock(&self.0);
        let of_kind = live.heard.values().filter(|(kind, _)| *kind == what);
        let longest_ago = of_kind.map(|(_, at)| *at).min();
        longest_ago.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

impl Word {
    /// The API server has said something.
    pub fn heard(&self) {
        if let Some((_, at)) = lock(&self.watches.0).heard.get_mut(&self.number) {
            *at = Instant::now();
        }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        lock(&self.watches.0).heard.remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds it can panic halfway through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_several_watches_the_most_silent_counts() {
        let watches = Watches::default();
        let silence = || watches.silence(Watched::Namespaces).as_secs();
        assert_eq!(silence(), 0, "there is none");
        let shop = watches.begin(Watched::Namespaces);
        tokio::time::advance(Duration::from_secs(5)).await;
        let web = watches.begin(Watched::Namespaces);
        let _pods = watches.begin(Watched::Pods);
        assert_eq!(silence(), 5);
        shop.heard();
        tokio::time::advance(Duration::from_secs(2)).await;
        shop.heard();
        assert_eq!(silence(), 2, "the other has heard nothing since it began");
        drop(web);
        assert_eq!(silence(), 0, "one that is wanted no longer is not silent");
        assert_eq!(watches.silence(Watched::Pods).as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_was_has_no_age() {
        let since = Since::default();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(since.age(), Duration::ZERO);
        since.set(Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(since.age().as_secs(), 5);
    }
}
