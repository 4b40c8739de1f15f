//! No sequence of events ever serves another session's, an expired or a revoked credential, and no key
//! ever has two fetches at once (which the bench's STS asserts).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::bench::{Bench, HOUR, MINUTE, Scripted, down, pod, refused, request, throttled};
use crate::credentials::broker::chance::Chance;
use crate::credentials::broker::{Answer, NoAnswer, Prefetch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const PODS: [&str; 4] = ["one", "two", "three", "four"];
const SESSIONS: [&str; 3] = ["red", "green", "blue"];

#[derive(Clone, Debug)]
enum Step {
    Assign(usize, Option<usize>, Prefetch),
    Forget(usize),
    Reconsider(usize),
    /// A pod asks for what it has, by facts of now.
    Ask(usize),
    /// A pod asks for anything, by facts of another time.
    AskFor(usize, usize),
    /// What STS does from now on.
    Sts(u8),
    Wait(Duration),
    Jump(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let prefetch = prop_oneof![Just(Prefetch::Now), Just(Prefetch::Spread), Just(Prefetch::No)];
    let session = proptest::option::weighted(0.9, 0..SESSIONS.len());
    let wait = prop_oneof![
        (0..1500_u64).prop_map(Duration::from_millis),
        (1..3600_u64).prop_map(Duration::from_secs),
    ];
    prop_oneof![
        3 => (0..PODS.len(), session, prefetch).prop_map(|(p, s, how)| Step::Assign(p, s, how)),
        1 => (0..PODS.len()).prop_map(Step::Forget),
        1 => (0..PODS.len()).prop_map(Step::Reconsider),
        6 => (0..PODS.len()).prop_map(Step::Ask),
        2 => (0..PODS.len(), 0..SESSIONS.len()).prop_map(|(p, s)| Step::AskFor(p, s)),
        2 => (0..8_u8).prop_map(Step::Sts),
        5 => wait.prop_map(Step::Wait),
        1 => (-7200..7200_i64).prop_map(Step::Jump),
    ]
}

fn behave(way: u8) -> Scripted {
    let soon = Duration::from_millis(40);
    match way {
        0 | 1 => (soon, Ok(HOUR)),
        2 => (soon, Ok(3 * MINUTE)),
        3 => (Duration::from_secs(3), Ok(HOUR)),
        4 => (Duration::from_hours(9), Ok(HOUR)),
        5 => (soon, Err(refused())),
        6 => (soon, Err(down())),
        _ => (Duration::from_millis(1200), Err(throttled())),
    }
}

/// A pod, what it asked for, and what came of it.
type Asked = (usize, usize, Result<Answer, NoAnswer>);

struct Model {
    bench: Bench,
    sts: Arc<AtomicU8>,
    /// What each pod may have now.
    may: HashMap<usize, usize>,
    asks: JoinSet<Asked>,
    served: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let sts = Arc::new(AtomicU8::new(0));
        let way = Arc::clone(&sts);
        let behaviour = move |_: Duration, _: &str| behave(way.load(Ordering::SeqCst));
        let bench = Bench::new(behaviour, Chance::Random(seed));
        Self { bench, sts, may: HashMap::new(), asks: JoinSet::new(), served: 0 }
    }

    fn ask(&mut self, of: usize, session: usize) {
        let broker = self.bench.broker.clone();
        let deadline = Instant::now() + Duration::from_millis(900);
        self.asks.spawn(async move {
            let answer = broker.get(&pod(PODS[of]), &request(SESSIONS[session]), deadline).await;
            (of, session, answer)
        });
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Assign(of, session, prefetch) => {
                match session {
                    Some(session) => self.may.insert(of, session),
                    None => self.may.remove(&of),
                };
                let request = session.map(|session| request(SESSIONS[session]));
                self.bench.broker.assign(pod(PODS[of]), request, prefetch);
            }
            Step::Forget(of) => {
                self.may.remove(&of);
                self.bench.broker.forget(pod(PODS[of]));
            }
            Step::Reconsider(of) => self.bench.broker.reconsider(pod(PODS[of])),
            Step::Ask(of) => {
                if let Some(session) = self.may.get(&of).copied() {
                    self.ask(of, session);
                }
            }
            Step::AskFor(of, session) => self.ask(of, session),
            Step::Sts(way) => self.sts.store(way, Ordering::SeqCst),
            // By steps, so that each answer is seen before the clock goes far.
            Step::Wait(long) => {
                let until = Instant::now() + long;
                while Instant::now() < until {
                    sleep(Duration::from_millis(250).min(until - Instant::now())).await;
                    self.check();
                    if self.asks.is_empty() {
                        tokio::time::sleep_until(until).await;
                    }
                }
            }
            Step::Jump(seconds) => self.bench.jump(seconds),
        }
        // Everything that can happen at this instant does.
        sleep(Duration::from_millis(1)).await;
        self.check();
    }

    fn check(&mut self) {
        while let Some(asked) = self.asks.try_join_next() {
            let (of, session, answer) = asked.unwrap();
            let Ok(Ok(credentials)) = answer else { continue };
            self.served += 1;
            assert_eq!(&*credentials.access_key_id, SESSIONS[session], "another session's");
            assert_eq!(self.may.get(&of), Some(&session), "{} may not have it", PODS[of]);
            let left = self.bench.left(&credentials);
            // It was answered up to a step ago.
            assert!(left + Duration::from_millis(251) >= MINUTE, "{left:?} left");
        }
    }
}

fn run(steps: Vec<Step>, seed: u64) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut model = Model::new(seed);
        for step in steps {
            model.take(step).await;
        }
        // In the end, with an STS that answers, everyone has what they may have.
        model.sts.store(0, Ordering::SeqCst);
        for of in 0..PODS.len() {
            model.take(Step::Reconsider(of)).await;
        }
        model.take(Step::Wait(2 * MINUTE)).await;
        for (of, session) in model.may.clone() {
            let answer = model.bench.get_as(PODS[of], SESSIONS[session]).await;
            answer.unwrap().unwrap();
        }
        let states = model.bench.broker.states().await;
        assert!(states.len() <= PODS.len(), "{states:?}");
        let sessions: std::collections::HashSet<_> = model.may.values().collect();
        let held = usize::try_from(model.bench.meters.held()).unwrap();
        assert!(held <= sessions.len(), "{held} held for {sessions:?}");
        model.served
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_serves_what_it_must_not(
        steps in proptest::collection::vec(step(), 1..80),
        seed in any::<u64>(),
    ) {
        run(steps, seed);
    }
}

#[test]
fn the_model_serves_often_enough_to_mean_something() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 2000).new_tree(&mut runner).unwrap().current();
    let served = run(steps, 1);
    assert!(served > 100, "{served} answers");
}
