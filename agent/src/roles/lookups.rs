//! What roles depend on is looked up for the pods of this node alone: one watch for each of their
//! Namespaces, one for the associations of each, and one for each ServiceAccount that could matter. Pods
//! share them, and the last pod takes them along.

mod needs;
mod outside;
pub mod remembered;
pub mod watches;

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::callers::pods::Index;
use crate::operate::events::{Events, Kind, Object, Reason};

use super::arn::BaseRoleArn;
use super::associations::index::Conflict;
use super::decide::Rules;
use super::facts::Cause;
use super::store::{News, Store};

pub use self::needs::Key;
pub use self::outside::{Failure, Outside, Served, Told};
use self::remembered::Remembered;

/// What may wait to be taken in.
const QUEUE: usize = 256;
/// Between two looks at whether associations can be watched by now.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The same, where the API server did not answer: roles wait for it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Before it is believed that a resource that was there is not any more: an API server that starts says so
/// for a moment too.
const BELIEVE_AFTER: Duration = Duration::from_secs(10);
/// How long the API server may say nothing before what is remembered counts.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// Between two looks at how long it has said nothing.
const RECALL_EVERY: Duration = Duration::from_millis(500);

/// A look that is under way.
type Looking = Pin<Box<dyn Future<Output = Served> + Send>>;

/// Keeps the store.
pub struct Lookups<O> {
    outside: O,
    rules: Arc<Rules>,
    pods: channel::Receiver<Index>,
    store: channel::Sender<Store>,
    events: Events,
    served: Option<Served>,
    watches: HashMap<Key, Watch>,
    running: JoinSet<Key>,
    /// What an earlier agent knew, until the API server has told all.
    remembered: Remembered,
    started: Instant,
    /// Whether the API server has answered anything.
    is_reached: bool,
    /// What was said of, so that it is said once: what fails, and associations that are passed over.
    failing: HashSet<(&'static str, Cause)>,
    passed_over: HashSet<Box<str>>,
}

/// A watch that is under way.
struct Watch {
    task: AbortHandle,
    begun: Instant,
    /// Whether the API server answered, be it by refusing.
    is_answered: bool,
    is_failing: bool,
}

impl<O: Outside> Lookups<O> {
    /// Looks up what `rules` need to know of `pods`.
    pub(super) fn new(
        outside: O,
        rules: Arc<Rules>,
        pods: channel::Receiver<Index>,
        store: channel::Sender<Store>,
        events: Events,
    ) -> Self {
        Self {
            outside,
            rules,
            pods,
            store,
            events,
            served: None,
            watches: HashMap::new(),
            running: JoinSet::new(),
            remembered: Remembered::default(),
            started: Instant::now(),
            is_reached: false,
            failing: HashSet::new(),
            passed_over: HashSet::new(),
        }
    }

    /// Takes what an earlier agent knew for true while the API server cannot be reached.
    #[must_use]
    pub fn remembering(mut self, remembered: Remembered) -> Self {
        self.remembered = remembered;
        self
    }

    /// Runs for ever. `own_base` tells what bare names are completed with, once that is known.
    pub async fn run(mut self, own_base: impl Future<Output = BaseRoleArn>) {
        let (sender, mut told) = mpsc::channel(QUEUE);
        let mut own_base = Box::pin(own_base);
        let mut own_base_known = false;
        let mut look = look_after(&self.outside, Duration::ZERO);
        let mut looking = true;
        loop {
            self.follow(&sender);
            self.recall();
            tokio::select! {
                changed = self.pods.changed() => {
                    // The watch on pods ends with the agent alone.
                    if changed.is_err() { return }
                }
                Some(told) = told.recv() => {
                    if self.hear(told) && !looking {
                        look = look_after(&self.outside, BELIEVE_AFTER);
                        looking = true;
                    }
                }
                served = &mut look, if looking => {
                    looking = !matches!(served, Served::ByNamespace | Served::Whole);
                    let again_after = match served {
                        Served::Unknown(Failure::Failing(_)) => ASK_AGAIN_AFTER,
                        _ => LOOK_AGAIN_AFTER,
                    };
                    self.take_served(served);
                    if looking {
                        look = look_after(&self.outside, again_after);
                    }
                }
                () = sleep(RECALL_EVERY), if !self.remembered.is_empty() => {}
                base = &mut own_base, if !own_base_known => {
                    own_base_known = true;
                    self.store.send_modify(|store| store.hear(News::OwnBase(base)));
                }
                Some(ended) = self.running.join_next() => match ended {
                    Ok(key) => drop(self.watches.remove(&key)),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
            }
        }
    }

    /// Begins and ends watches so that there is one for each thing that a pod needs.
    fn follow(&mut self, sender: &mpsc::Sender<Told>) {
        let needed = {
            let pods = self.pods.borrow_and_update();
            needs::of_pods(&self.rules, pods.all().map(Arc::as_ref), self.served.as_ref())
        };
        let store = &self.store;
        let is_served = self.served.is_some();
        self.watches.retain(|key, watch| {
            let stays = needed.contains(key);
            if !stays {
                watch.task.abort();
                store.send_modify(|store| forget(store, key, is_served));
            }
            stays
        });
        for key in needed {
            if !self.watches.contains_key(&key) {
                let task = self.outside.watch(key.clone(), sender.clone());
                let ended = key.clone();
                let watch = self.running.spawn(async move {
                    task.await;
                    ended
                });
                let (begun, is_answered, is_failing) = (Instant::now(), false, false);
                self.watches.insert(key, Watch { task: watch, begun, is_answered, is_failing });
            }
        }
        let complete = self.served.is_some()
            && self.pods.borrow().is_listed()
            && self.watches.values().all(|watch| watch.is_answered);
        if complete {
            self.remembered = Remembered::default();
        }
        self.store.send_if_modified(|store| store.set_complete(complete));
    }

    /// Takes what is remembered of all that the API server does not tell of.
    fn recall(&mut self) {
        if self.remembered.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_silent = !self.is_reached && now >= self.started + SILENT_AFTER;
        let due =
            |watch: &Watch| is_silent || watch.is_failing || now >= watch.begun + SILENT_AFTER;
        let untold = self.watches.iter().filter(|(_, watch)| !watch.is_answered && due(watch));
        let mut keys: Vec<Key> = untold.map(|(key, _)| key.clone()).collect();
        if self.served.is_none() {
            // Nobody watches associations before it is known how.
            let of_namespace = |key: &Key| match key {
                Key::Namespace(name) => Some(Key::Associations(Some(name.clone()))),
                Key::ServiceAccount(..) | Key::Associations(_) => None,
            };
            keys.extend(keys.iter().filter_map(of_namespace).collect::<Vec<_>>());
        }
        for news in keys.iter().filter_map(|key| self.remembered.take(key)) {
            self.store.send_modify(|store| store.hear(news));
        }
    }

    /// Takes in what a watch tells. Says whether it must be looked at how associations are watched.
    fn hear(&mut self, Told { key, what }: Told) -> bool {
        // One that was ended may have spoken before.
        let Some(watch) = self.watches.get_mut(&key) else { return false };
        watch.is_failing = matches!(what, Err(Failure::Failing(_)));
        if !watch.is_failing {
            (watch.is_answered, self.is_reached) = (true, true);
            self.remembered.forget(&key);
        }
        match what {
            Ok(news) => {
                self.recovered(&key);
                self.store.send_modify(|store| store.hear(news));
                self.tell_conflicts(&key);
                false
            }
            Err(failure) => {
                let is_gone = failure == Failure::NotServed;
                self.miss(&key, &failure);
                is_gone
            }
        }
    }

    fn miss(&mut self, key: &Key, failure: &Failure) {
        let cause = self.say(key.plural(), failure);
        self.store.send_modify(|store| miss(store, key, cause));
    }

    /// Says what fails, once.
    fn say(&mut self, plural: &'static str, failure: &Failure) -> Cause {
        let cause = match failure {
            Failure::Forbidden => Cause::Forbidden,
            Failure::NotServed | Failure::Failing(_) => Cause::Failing,
        };
        if self.failing.insert((plural, cause)) {
            match failure {
                Failure::Forbidden => warn!(
                    "podrole may not list and watch {plural}: its ClusterRole must allow it; pods whose role depends on them get none"
                ),
                Failure::NotServed => warn!("the API server knows no {plural} any more"),
                Failure::Failing(error) => {
                    warn!(error, "the watch on {plural} is interrupted; trying again");
                }
            }
        }
        cause
    }

    fn recovered(&mut self, key: &Key) {
        let plural = key.plural();
        let failed =
            [Cause::Forbidden, Cause::Failing].map(|cause| self.failing.remove(&(plural, cause)));
        if failed.contains(&true) {
            info!("the watch on {plural} is back");
        }
    }

    fn take_served(&mut self, served: Served) {
        if let Served::Unknown(failure) = &served {
            // What is watched goes on as it is.
            let cause = self.say(Key::ASSOCIATIONS, failure);
            self.store.send_modify(|store| store.miss_associations(None, cause));
            return;
        }
        self.is_reached = true;
        if self.served.as_ref() == Some(&served) {
            return;
        }
        match &served {
            Served::Whole => info!(
                "this API server cannot select RoleAssociations by their namespace, so all of them are watched"
            ),
            Served::NotInstalled => {
                info!(
                    "RoleAssociations are not installed in this cluster; the other rules work without them"
                );
                self.store.send_modify(|store| store.hear(News::NotInstalled));
            }
            Served::ByNamespace | Served::Unknown(_) => {}
        }
        self.served = Some(served);
    }

    /// Names the associations that an older one takes the place of.
    fn tell_conflicts(&mut self, key: &Key) {
        let Key::Associations(namespace) = key else { return };
        let store = self.store.borrow();
        let namespaces: Vec<&str> = match namespace {
            Some(namespace) => vec![namespace],
            None => store.associations().namespaces().collect(),
        };
        let conflicts =
            namespaces.into_iter().flat_map(|namespace| store.associations().conflicts(namespace));
        for Conflict { loser, winner } in conflicts {
            if !self.passed_over.insert(loser.uid.clone()) {
                continue;
            }
            let (name, older) = (&loser.association.name, &winner.association.name);
            let note = format!(
                "RoleAssociation {name} is passed over: {older} is older and for the same namespace ({}) and ServiceAccount ({}); delete one of them",
                loser.namespace, loser.service_account
            );
            warn!("{note}");
            let object = Object {
                kind: Kind::RoleAssociation,
                namespace: None,
                name: name.clone(),
                uid: loser.uid.clone(),
            };
            self.events.tell(object, Reason::DuplicateRoleAssociation, note);
        }
    }
}

fn look_after<O: Outside>(outside: &O, wait: Duration) -> Looking {
    let look = outside.look();
    Box::pin(async move {
        sleep(wait).await;
        look.await
    })
}

fn miss(store: &mut Store, key: &Key, cause: Cause) {
    match key {
        Key::Namespace(name) => store.miss_namespace(name, cause),
        Key::ServiceAccount(namespace, name) => store.miss_account(namespace, name, cause),
        Key::Associations(namespace) => store.miss_associations(namespace.as_deref(), cause),
    }
}

fn forget(store: &mut Store, key: &Key, is_served: bool) {
    match key {
        Key::Namespace(name) => {
            store.forget_namespace(name);
            if !is_served {
                // They were remembered, and no watch of their own takes them along.
                store.forget_associations(name);
            }
        }
        Key::ServiceAccount(namespace, name) => store.forget_account(namespace, name),
        Key::Associations(Some(namespace)) => store.forget_associations(namespace),
        Key::Associations(None) => {}
    }
}

#[cfg(test)]
mod tests;
