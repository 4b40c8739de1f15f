//! The task that owns all sessions: commands come in, fetches go out when they are due, in order of
//! who needs them most, within the node's rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::warn;

use super::chance::Chance;
use super::entry::{Entry, Waiter};
use super::held::{Held, Now};
use super::limiter::{Class, Limiter};
use super::shelf::Shelf;
use super::{
    Command, Credentials, FetchError, Meters, Prefetch, Refused, SessionRequest, SessionState,
    Source, report,
};
use crate::callers::pods::PodUid;
use crate::clock::Clock;

mod hand_over;
mod shown;

use self::hand_over::Legacy;

/// A session, by every input of it.
pub(super) type Key = Arc<SessionRequest>;

/// How often what ended is dropped and the clocks are compared.
const TICK: Duration = Duration::from_secs(10);
/// Clocks that drift apart by more than this within a tick have jumped.
const JUMP: Duration = Duration::from_secs(2);
/// A fetch ends by itself before; this holds it, whatever its source does.
const FETCH_DEADLINE: Duration = Duration::from_secs(20);
/// Fetches under way that a pod waits for.
const ASKED_AT_ONCE: usize = 128;
/// Fetches under way that nobody waits for yet: where STS takes a quarter of a second, 64 pods a second have their
/// credentials before they ask. The node's rate bounds what that is to AWS.
const AHEAD_AT_ONCE: usize = 16;
/// Between the prefetches after the agent's start: of 5,000 nodes together, 417 a second.
const SPREAD: Duration = Duration::from_secs(12);

/// A pod, as far as the broker knows it.
#[derive(Default)]
struct Assigned {
    /// Whether anybody said what it may have.
    known: bool,
    /// What it may have.
    session: Option<Key>,
    /// Requests for something that it may not have, or not yet: the word of its assignment may be on
    /// its way.
    parked: Vec<(SessionRequest, oneshot::Sender<super::Answer>)>,
}

struct Fetched {
    key: Key,
    class: Class,
    result: Result<Credentials, FetchError>,
    took: Duration,
}

pub(super) struct Owner<S> {
    source: Arc<S>,
    clock: Clock,
    meters: Meters,
    chance: Chance,
    pods: HashMap<PodUid, Assigned>,
    sessions: HashMap<Key, Entry>,
    /// What readers find.
    shelf: Shelf,
    /// Sessions so far.
    count: u64,
    fetches: JoinSet<Fetched>,
    /// Who hears what AWS refuses.
    refusals: Option<mpsc::Sender<Refused>>,
    /// Fetches under way, with and without a pod that waits.
    running: [usize; 2],
    limiter: Limiter,
    /// The next place of the prefetches that are spread out.
    spread: Instant,
    /// When the clocks were compared last.
    compared: Now,
    /// When the sessions must be looked at; now, if something changed.
    wake: Instant,
    /// Whether another agent does what no pod waits for.
    rests: bool,
    /// What another agent knew.
    legacy: Legacy,
    /// Those who wait until all is settled.
    unsettled: Vec<oneshot::Sender<()>>,
}

impl<S: Source> Owner<S> {
    pub(super) fn new(
        source: S,
        clock: Clock,
        meters: Meters,
        mut chance: Chance,
        shelf: Shelf,
    ) -> Self {
        let now = Now { instant: Instant::now(), wall: clock.now() };
        Self {
            source: Arc::new(source),
            spread: now.instant + SPREAD.mul_f64(chance.next()),
            limiter: Limiter::new(now.instant),
            clock,
            meters,
            chance,
            pods: HashMap::new(),
            sessions: HashMap::new(),
            shelf,
            count: 0,
            fetches: JoinSet::new(),
            refusals: None,
            running: [0; 2],
            compared: now,
            wake: now.instant + TICK,
            rests: false,
            legacy: Legacy::none(now),
            unsettled: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(fetched) = self.fetches.join_next() => match fetched {
                    Ok(fetched) => self.fetched(fetched),
                    Err(error) if error.is_panic() => {
                        std::panic::resume_unwind(error.into_panic())
                    }
                    Err(_) => {}
                },
                () = sleep_until(self.wake) => self.look(),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), wall: self.clock.now() }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Get { pod, request, reply } => self.get(pod, request, reply),
            Command::Assign { pod, session, prefetch } => self.assign(&pod, session, prefetch),
            Command::Reconsider(pod) => self.reconsider(&pod),
            Command::Forget(pod) => {
                if let Some(Assigned { session: Some(key), .. }) = self.pods.remove(&pod) {
                    self.leave(&pod, &key);
                }
                self.look();
            }
            // Nobody listens any more; that is no failure.
            Command::States(reply) => drop(reply.send(self.states())),
            Command::TellRefusals(sender) => self.refusals = Some(sender),
            Command::Rest(rests) => {
                self.rests = rests;
                self.look();
            }
            Command::HandOver(reply) => drop(reply.send(self.hand_over())),
            Command::TakeOver(sessions) => self.take_over(sessions),
            Command::Settled(reply) => {
                self.unsettled.push(reply);
                self.look();
            }
        }
    }

    fn get(&mut self, pod: PodUid, request: SessionRequest, reply: oneshot::Sender<super::Answer>) {
        let now = self.now();
        let assigned = self.pods.entry(pod.clone()).or_default();
        let Some(entry) = assigned
            .session
            .as_ref()
            .filter(|key| ***key == request)
            .and_then(|key| self.sessions.get_mut(key))
        else {
            assigned.parked.retain(|(_, reply)| !reply.is_closed());
            assigned.parked.push((request, reply));
            return;
        };
        let wish = |entry: &Entry| (entry.due(), entry.rank(now).0);
        let before = wish(entry);
        entry.ask(Waiter { pod, reply }, now, self.limiter.is_failing());
        if let Some(held) = entry.servable(now) {
            self.meters.left.observe(held.left(now).as_secs_f64());
        }
        let is_new = wish(entry) != before;
        self.wake = entry.wake(now).map_or(self.wake, |wake| self.wake.min(wake));
        if is_new {
            self.look();
        }
    }

    fn assign(&mut self, pod: &PodUid, session: Option<SessionRequest>, prefetch: Prefetch) {
        let now = self.now();
        let key = session.map(|request| self.key_of(request));
        let due = match prefetch {
            Prefetch::Now => Some(now.instant),
            Prefetch::Spread => Some(self.next_place(key.as_ref(), now.instant)),
            Prefetch::No => None,
        };
        let assigned = self.pods.entry(pod.clone()).or_default();
        assigned.known = true;
        let parked = std::mem::take(&mut assigned.parked);
        let before = std::mem::replace(&mut assigned.session, key.clone());
        match (before, &key) {
            (Some(before), Some(key)) if before == *key => {
                if let Some(entry) = self.sessions.get_mut(key) {
                    entry.reconsider(now);
                }
            }
            (Some(before), _) => self.leave(pod, &before),
            (None, _) => {}
        }
        if let Some(key) = key {
            let entry = self.sessions.entry(Arc::clone(&key)).or_insert_with(|| {
                self.count += 1;
                Entry::new(self.count)
            });
            entry.join(pod.clone(), due);
            self.legacy.give(&key, entry, now);
            self.shelf.fill([pod], &key, entry, now);
            for (request, reply) in parked {
                // A request of yesterday's role is dropped: its client asks again.
                if request == *key {
                    entry.ask(Waiter { pod: pod.clone(), reply }, now, self.limiter.is_failing());
                }
            }
        }
        self.look();
    }

    /// The same allocation for the same session.
    fn key_of(&self, request: SessionRequest) -> Key {
        let known = self.sessions.get_key_value(&request).map(|(key, _)| Arc::clone(key));
        known.unwrap_or_else(|| Arc::new(request))
    }

    /// A place among the prefetches that are spread out; what is there needs none.
    fn next_place(&mut self, key: Option<&Key>, now: Instant) -> Instant {
        let is_there = |key| self.sessions.get(key).is_some_and(Entry::is_there);
        if key.is_some_and(|key| is_there(key) || self.legacy.knows(key)) {
            return now;
        }
        let place = self.spread.max(now);
        self.spread = place + SPREAD.mul_f64(0.5 + self.chance.next());
        place
    }

    fn leave(&mut self, pod: &PodUid, key: &Key) {
        self.shelf.remove(pod);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if !entry.leave(pod) && !entry.is_fetching() {
            self.sessions.remove(key);
        }
    }

    fn reconsider(&mut self, pod: &PodUid) {
        let now = self.now();
        let assigned = self.pods.get(pod).and_then(|assigned| assigned.session.as_ref());
        if let Some(entry) = assigned.and_then(|key| self.sessions.get_mut(key)) {
            entry.reconsider(now);
        }
        self.look();
    }

    /// Starts what is due and allowed, and finds out when to look again.
    fn look(&mut self) {
        let now = self.now();
        self.wake = now.instant + TICK;
        for entry in self.sessions.values_mut() {
            entry.look(now);
        }
        while let Some((class, key)) = self.next_due(now) {
            if self.rests && class == Class::Ahead {
                break;
            }
            if self.running_of(class) >= at_once(class) {
                break;
            }
            if let Err(at) = self.limiter.take(class, now.instant) {
                self.wake = self.wake.min(at);
                break;
            }
            self.start(key, class);
        }
        let next = self.sessions.values().filter_map(|entry| entry.wake(now)).min();
        self.wake = self.wake.min(next.unwrap_or(self.wake));
        if !self.sessions.values().any(|entry| entry.is_unsettled(now)) {
            for reply in self.unsettled.drain(..) {
                // Nobody waits any more; that is no failure.
                let _ = reply.send(());
            }
        }
        self.measure(now);
    }

    fn next_due(&self, now: Now) -> Option<(Class, Key)> {
        let due = |entry: &Entry| entry.due().is_some_and(|due| due <= now.instant);
        let due = self.sessions.iter().filter(|(_, entry)| due(entry));
        let (key, entry) = due.min_by_key(|(_, entry)| entry.rank(now))?;
        Some((entry.rank(now).0, Arc::clone(key)))
    }

    fn running_of(&self, class: Class) -> usize {
        self.running.get(class as usize).copied().unwrap_or(usize::MAX)
    }

    fn start(&mut self, key: Key, class: Class) {
        if let Some(entry) = self.sessions.get_mut(&key) {
            entry.start();
        }
        if let Some(running) = self.running.get_mut(class as usize) {
            *running += 1;
        }
        let source = Arc::clone(&self.source);
        self.fetches.spawn(async move {
            let started = Instant::now();
            let result = timeout(FETCH_DEADLINE, source.fetch(&key)).await;
            let result = result
                .unwrap_or_else(|_| Err(FetchError::Unavailable("no answer within 20 s".into())));
            Fetched { key, class, result, took: started.elapsed() }
        });
    }

    fn fetched(&mut self, fetched: Fetched) {
        let Fetched { key, class, result, took } = fetched;
        let now = self.now();
        if let Some(running) = self.running.get_mut(class as usize) {
            *running = running.saturating_sub(1);
        }
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let chance = [self.chance.next(), self.chance.next()];
        let answer = entry.finish(&key, result, now, chance);
        report::log(&key, entry, &answer, now);
        report::tell(self.refusals.as_ref(), &key, entry, &answer);
        self.meters.count(&key, &answer, took);
        match &answer {
            Err(error) if report::is_of_the_node(error) => self.limiter.slow_down(now.instant),
            Ok(_) => self.limiter.speed_up(now.instant),
            Err(_) => {}
        }
        if answer.is_ok() {
            self.shelf.fill(entry.pods.keys(), &key, entry, now);
        }
        if entry.pods.is_empty() {
            self.sessions.remove(&key);
        }
        self.look();
    }

    fn tick(&mut self) {
        let now = self.now();
        let jumped = now.jumped_since(self.compared);
        self.compared = now;
        if jumped > JUMP {
            warn!(seconds = jumped.as_secs(), "the clock jumped, or the node slept");
        }
        for entry in self.sessions.values_mut() {
            entry.look(now);
            if jumped > JUMP {
                entry.replan(now);
            }
        }
        self.legacy.expire(now);
        self.pods.retain(|_, pod| {
            pod.parked.retain(|(_, reply)| !reply.is_closed());
            pod.known || !pod.parked.is_empty()
        });
        self.look();
    }
}

const fn at_once(class: Class) -> usize {
    match class {
        Class::Asked => ASKED_AT_ONCE,
        Class::Ahead => AHEAD_AT_ONCE,
    }
}
