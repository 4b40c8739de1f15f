//! Sessions that go from one agent to the next.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::bench::{Bench, HOUR, MINUTE, bench, down, pod, refused, well};
use crate::credentials::broker::{Phase, Prefetch};
use crate::credentials::handed::Handed;

/// As they travel.
async fn hand_over(old: &Bench, new: &Bench) {
    old.broker.rest(true);
    let sessions = old.broker.hand_over().await;
    let handed = Handed { sessions, ..Handed::default() };
    new.broker.take_over(Handed::read(&handed.write().unwrap()).sessions);
    new.broker.rest(false);
}

#[tokio::test(start_paused = true)]
async fn the_new_agent_asks_nothing_that_the_old_one_knew() {
    let (old, new) = (bench(well), bench(well));
    new.broker.rest(true);
    for name in ["early", "late"] {
        old.assign(name, Prefetch::Now);
        old.get(name).await.unwrap().unwrap();
    }
    // One that it knows of already, one that it hears of a moment later.
    new.assign("early", Prefetch::Now);
    new.at(MINUTE).await;
    hand_over(&old, &new).await;
    new.assign("late", Prefetch::Spread);
    for name in ["early", "late"] {
        let held = old.get(name).await.unwrap().unwrap();
        let handed = new.get(name).await.unwrap().unwrap();
        assert_eq!(handed.obtained, held.obtained);
    }
    assert_eq!(new.call_count(), 0);
    // It is refreshed as the old one would have.
    new.at(Duration::from_mins(29)).await;
    assert!(new.calls().iter().all(|call| call.at >= Duration::from_mins(25)));
    new.at(Duration::from_mins(31)).await;
    assert_eq!((new.call_count(), old.call_count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_new_agent_asks_nothing_that_was_refused_to_the_old_one() {
    let refuse = |_, _: &str| (Duration::from_millis(50), Err(refused()));
    let (old, new) = (bench(refuse), bench(well));
    new.broker.rest(true);
    for name in ["early", "late", "forgotten"] {
        old.assign(name, Prefetch::Now);
        old.get(name).await.unwrap().unwrap_err();
    }
    new.assign("early", Prefetch::Now);
    hand_over(&old, &new).await;
    new.assign("late", Prefetch::Spread);
    for name in ["early", "late"] {
        assert_eq!(new.get(name).await.unwrap().unwrap_err(), refused());
        assert_eq!(new.state(name).await.failures, 1);
    }
    new.broker.settled().await;
    // Nobody asks: what is refused stays so. Who asks after a minute is the first to try again.
    new.at(MINUTE * 4).await;
    assert_eq!(new.call_count(), 0);
    new.get("early").await.unwrap().unwrap();
    assert_eq!(new.call_count(), 1);
    // What nobody had a claim to is not kept.
    new.at(MINUTE * 6).await;
    new.assign("forgotten", Prefetch::Now);
    new.get("forgotten").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_not_told_a_refusal_of_yesterday() {
    let refuse = |_, _: &str| (Duration::from_millis(50), Err(refused()));
    let (old, new) = (bench(refuse), bench(well));
    old.assign("web", Prefetch::Now);
    old.get("web").await.unwrap().unwrap_err();
    old.at(MINUTE * 2).await;
    new.broker.rest(true);
    new.assign("web", Prefetch::Now);
    hand_over(&old, &new).await;
    new.get("web").await.unwrap().unwrap();
    assert_eq!(new.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_at_rest_fetches_only_what_a_pod_waits_for() {
    let bench = bench(well);
    bench.broker.rest(true);
    bench.assign("ahead", Prefetch::Now);
    bench.assign("asked", Prefetch::Now);
    bench.at(MINUTE).await;
    assert_eq!(bench.call_count(), 0);
    bench.get("asked").await.unwrap().unwrap();
    assert_eq!(bench.call_count(), 1);
    bench.broker.rest(false);
    bench.at(MINUTE * 2).await;
    assert_eq!(bench.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_fresher_stays() {
    let (old, new) = (bench(well), bench(well));
    old.assign("web", Prefetch::Now);
    old.get("web").await.unwrap().unwrap();
    new.at(MINUTE).await;
    new.assign("web", Prefetch::Now);
    let fresh = new.get("web").await.unwrap().unwrap();
    hand_over(&old, &new).await;
    assert_eq!(new.get("web").await.unwrap().unwrap().obtained, fresh.obtained);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_may_have_is_not_kept() {
    let (old, new) = (bench(well), bench(well));
    old.assign("web", Prefetch::Now);
    old.get("web").await.unwrap().unwrap();
    hand_over(&old, &new).await;
    new.at(MINUTE * 6).await;
    new.assign("web", Prefetch::No);
    assert_eq!(new.state("web").await.phase, Phase::Absent);
}

#[tokio::test(start_paused = true)]
async fn all_is_settled_when_each_is_there_or_refused_for_good() {
    let bench = bench(|at, name| match name {
        "refused" => (Duration::from_millis(50), Err(refused())),
        "down" if at < MINUTE => (Duration::from_millis(50), Err(down())),
        _ => (Duration::from_millis(50), Ok(HOUR)),
    });
    for name in ["web", "refused", "down"] {
        bench.assign(name, Prefetch::Now);
    }
    bench.assign("idle", Prefetch::No);
    bench.at(MINUTE / 2).await;
    assert!(bench.broker.settled().now_or_never().is_none());
    bench.broker.settled().await;
    assert!(bench.elapsed() >= MINUTE && bench.elapsed() < 4 * MINUTE, "{:?}", bench.elapsed());
    bench.broker.forget(pod("web"));
    bench.broker.settled().await;
}
