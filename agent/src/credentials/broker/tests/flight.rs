//! One fetch for all who wait, whoever of them hangs up.

use std::time::Duration;

use super::bench::{HOUR, bench, down, pod, refused, request, well};
use crate::credentials::FetchError;
use crate::credentials::broker::{NoAnswer, Prefetch};
use tokio::time::{Instant, sleep};

fn takes(millis: u64) -> impl Fn(Duration, &str) -> super::bench::Scripted {
    move |_, _| (Duration::from_millis(millis), Ok(HOUR))
}

#[tokio::test(start_paused = true)]
async fn each_request_gets_its_own_session() {
    let bench = bench(well);
    for name in ["a", "b"] {
        bench.assign(name, Prefetch::No);
        bench.get(name).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_first_requests_make_one_call() {
    let bench = bench(takes(100));
    bench.assign("a", Prefetch::No);
    let answers = futures_util::future::join_all((0..1000).map(|_| bench.get("a"))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_fetch_is_given_up_by_the_client_alone() {
    let bench = bench(takes(1500));
    bench.assign("a", Prefetch::No);
    let asked = Instant::now();
    assert_eq!(bench.get("a").await.unwrap_err(), NoAnswer::NotYet);
    assert_eq!(asked.elapsed(), Duration::from_millis(900));
    bench.at(Duration::from_millis(1501)).await;
    bench.get("a").await.unwrap().unwrap();
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up() {
    let bench = bench(|at, _| {
        let hangs = if at < HOUR / 2 { 10 * HOUR } else { Duration::ZERO };
        (hangs, Ok(HOUR))
    });
    bench.assign("a", Prefetch::No);
    bench.get("a").await.unwrap_err();
    bench.at(Duration::from_millis(20_500)).await;
    let state = bench.state("a").await;
    assert_eq!(state.error, Some(FetchError::Unavailable("no answer within 20 s".into())));
    bench.at(HOUR).await;
    bench.get("a").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_dies_with_its_last_pod() {
    let bench = bench(well);
    for of in ["one", "two"] {
        bench.assign_to(of, "shared", Prefetch::No);
        bench.get_as(of, "shared").await.unwrap().unwrap();
    }
    assert_eq!(bench.call_count(), 1);
    bench.broker.forget(pod("one"));
    bench.get_as("two", "shared").await.unwrap().unwrap();
    assert_eq!((bench.call_count(), bench.meters.held()), (1, 1));
    bench.broker.forget(pod("two"));
    bench.assign_to("two", "shared", Prefetch::No);
    bench.get_as("two", "shared").await.unwrap().unwrap();
    assert_eq!(bench.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_counted_while_they_are_held() {
    let bench =
        bench(|_, name| (Duration::ZERO, if name == "b" { Err(refused()) } else { Ok(HOUR) }));
    for (name, held) in [("a", 1), ("b", 1), ("c", 2)] {
        bench.assign(name, Prefetch::No);
        let _ = bench.get(name).await.unwrap();
        assert_eq!(bench.meters.held(), held, "{name}");
    }
    bench.broker.forget(pod("a"));
    bench.get("c").await.unwrap().unwrap();
    assert_eq!(bench.broker.states().await.len(), 2, "of b and c");
    assert_eq!(bench.meters.held(), 1);
    // Nobody asks for it any more, and it is not kept for its own sake.
    sleep(2 * HOUR).await;
    assert_eq!((bench.meters.held(), bench.call_count()), (0, 3 + 1));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_whose_pods_are_gone_leaves_nothing_behind() {
    let bench = bench(takes(1500));
    bench.assign("a", Prefetch::No);
    bench.get("a").await.unwrap_err();
    bench.broker.forget(pod("a"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.meters.held(), 0);
    assert!(bench.broker.states().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_pod_gets_nothing_and_the_same_key_still_has_one_fetch() {
    let bench = bench(takes(800));
    bench.assign_to("one", "shared", Prefetch::No);
    let first = bench.get_as("one", "shared");
    let second = async {
        sleep(Duration::from_millis(100)).await;
        bench.broker.forget(pod("one"));
        bench.assign_to("two", "shared", Prefetch::No);
        bench.get_as("two", "shared").await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err(), NoAnswer::Dropped);
    second.unwrap().unwrap();
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_for_a_pod_before_it_may_have_it() {
    let bench = bench(well);
    assert_eq!(bench.get("a").await.unwrap_err(), NoAnswer::NotYet);
    bench.assign_to("a", "yesterday", Prefetch::No);
    let asked = bench.get_as("a", "today");
    let told = async {
        sleep(Duration::from_millis(300)).await;
        bench.assign_to("a", "today", Prefetch::No);
    };
    let (answer, ()) = tokio::join!(asked, told);
    answer.unwrap().unwrap();
    let names: Vec<_> = bench.calls().into_iter().map(|call| call.name).collect();
    assert_eq!(names, ["today"]);
    // A client that was on its way when the role was taken away.
    assert_eq!(bench.get_as("a", "yesterday").await.unwrap_err(), NoAnswer::NotYet);
    bench.broker.assign(pod("a"), None, Prefetch::No);
    assert_eq!(bench.get_as("a", "today").await.unwrap_err(), NoAnswer::NotYet);
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_taken_away_in_flight_is_not_served() {
    let bench = bench(takes(500));
    bench.assign_to("a", "yesterday", Prefetch::No);
    let asked = bench.get_as("a", "yesterday");
    let told = async {
        sleep(Duration::from_millis(100)).await;
        bench.assign_to("a", "today", Prefetch::No);
    };
    let (answer, ()) = tokio::join!(asked, told);
    assert_eq!(answer.unwrap_err(), NoAnswer::Dropped);
    bench.get_as("a", "today").await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.meters.held(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_word_is_lost_however_many_ask() {
    let bench = bench(takes(100));
    bench.assign("a", Prefetch::No);
    let soon = Instant::now() + Duration::from_millis(900);
    let ask = async || bench.broker.get(&pod("a"), &request("a"), soon).await;
    let mut asks = Box::pin(futures_util::future::join_all((0..20_000).map(|_| ask())));
    // Each has asked before the broker runs for the first time.
    assert!(futures_util::poll!(&mut asks).is_pending());
    bench.broker.forget(pod("a"));
    let answers = asks.await;
    assert!(answers.into_iter().all(|answer| answer.unwrap_err() == NoAnswer::Dropped));
    assert!(bench.broker.states().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_single_failure_is_not_seen_by_those_who_wait() {
    let bench = bench(|at, _| {
        (
            Duration::from_millis(50),
            if at < Duration::from_millis(40) { Err(down()) } else { Ok(HOUR) },
        )
    });
    bench.assign("a", Prefetch::No);
    bench.get("a").await.unwrap().unwrap();
    assert_eq!(bench.elapsed(), Duration::from_millis(50 + 125 + 50));
    assert_eq!(bench.call_count(), 2);
}
