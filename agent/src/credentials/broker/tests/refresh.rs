//! A simulated day: when sessions are refreshed, and what is left of what is served.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bench::{Bench, HOUR, MINUTE, bench, well};
use crate::credentials::FetchError;
use crate::credentials::broker::Prefetch;
use crate::credentials::broker::chance::Chance;

const DAY: Duration = Duration::from_hours(24);

/// Asks for `name` every minute of a day; what the least that was left is.
async fn ask_all_day(bench: &Bench, name: &str) -> Duration {
    let mut least = HOUR;
    while bench.elapsed() < DAY {
        let asked = bench.elapsed();
        let credentials = bench.get(name).await.unwrap().unwrap();
        least = least.min(bench.left(&credentials));
        if least < HOUR && bench.elapsed() > MINUTE {
            assert_eq!(bench.elapsed(), asked, "a warm answer waited");
        }
        bench.at(asked + MINUTE).await;
    }
    least
}

#[tokio::test(start_paused = true)]
async fn a_session_is_refreshed_every_27_and_a_half_minutes() {
    let bench = bench(|_, _| (Duration::ZERO, Ok(HOUR)));
    bench.assign("a", Prefetch::Now);
    let least = ask_all_day(&bench, "a").await;
    assert!(least >= Duration::from_mins(32), "{least:?}");
    let instants: Vec<_> = bench.calls().into_iter().map(|call| call.at).collect();
    let expected: Vec<_> = (0..53).map(|n| n * Duration::from_secs(1650)).collect();
    assert_eq!(instants, expected);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_asks_for_is_kept_for_a_mapped_pod_alone() {
    let bench = bench(|_, _| (Duration::ZERO, Ok(HOUR)));
    bench.assign("mapped", Prefetch::Now);
    bench.assign("default", Prefetch::No);
    bench.get("default").await.unwrap().unwrap();
    bench.at(DAY).await;
    let (mapped, default): (Vec<_>, Vec<_>) =
        bench.calls().into_iter().partition(|call| call.name == "mapped");
    assert_eq!((mapped.len(), default.len()), (53, 1));
    assert!(bench.state("default").await.expiration.is_none());
}

/// So many hours of 110 pods that come together: each asks every 10 minutes.
async fn hours_of_110(hours: u32, seed: u64) -> Bench {
    let bench = Bench::new(well, Chance::Random(seed));
    let names: Vec<String> = (0..110).map(|n| format!("pod-{n}")).collect();
    for name in &names {
        bench.assign(name, Prefetch::Now);
    }
    bench.at(MINUTE).await;
    while bench.elapsed() < hours * HOUR {
        let asked = bench.elapsed();
        for name in &names {
            let credentials = bench.get(name).await.unwrap().unwrap();
            let left = bench.left(&credentials);
            assert!(left >= 25 * MINUTE, "{left:?} left at {asked:?}");
        }
        assert_eq!(bench.elapsed(), asked, "a warm answer waited");
        bench.at(asked + 10 * MINUTE).await;
    }
    bench
}

#[tokio::test(start_paused = true)]
async fn of_110_sessions_each_is_refreshed_in_time_and_apart_from_the_others() {
    let bench = hours_of_110(24, 1).await;
    let mut by_name = BTreeMap::<String, Vec<Duration>>::new();
    for call in bench.calls() {
        by_name.entry(call.name).or_default().push(call.at);
    }
    assert_eq!(by_name.len(), 110);
    for (name, instants) in &by_name {
        for pair in instants.windows(2) {
            let apart = pair[1].saturating_sub(pair[0]);
            let expected = Duration::from_secs(1499)..Duration::from_secs(1802);
            assert!(expected.contains(&apart), "{name}: {apart:?} between refreshes");
        }
    }
    let firsts: Vec<_> = by_name.values().map(|instants| instants[1]).collect();
    let spread = firsts.iter().max().unwrap().saturating_sub(*firsts.iter().min().unwrap());
    assert!(spread > Duration::from_secs(270), "first refreshes within {spread:?}");
    // At the end of the day, no minute has more than a few of the 110.
    let mut minutes = BTreeMap::<u64, usize>::new();
    for call in bench.calls().iter().filter(|call| call.at > 18 * HOUR) {
        *minutes.entry(call.at.as_secs() / 60).or_default() += 1;
    }
    let most = minutes.values().max().unwrap();
    assert!(*most <= 16, "{most} in one minute, of 4 on average");
    assert!(bench.most_flying() <= 16);
}

#[tokio::test(start_paused = true)]
async fn the_same_chances_make_the_same_calls() {
    let first = hours_of_110(3, 7).await.calls();
    assert!(first == hours_of_110(3, 7).await.calls(), "not the same");
    assert!(first != hours_of_110(3, 8).await.calls(), "the same");
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_shorter_than_asked_for_have_half_left() {
    for minutes in [4, 15, 30, 55] {
        let lifetime = minutes * MINUTE;
        let bench = Bench::new(move |_, _| (Duration::ZERO, Ok(lifetime)), Chance::Random(3));
        bench.assign("a", Prefetch::Now);
        let least = ask_all_day(&bench, "a").await;
        let floor = (lifetime / 2).min(25 * MINUTE);
        assert!(least >= floor, "{least:?} of {lifetime:?}");
        let most = DAY.as_secs() / lifetime.saturating_sub(floor).as_secs() * 4 / 3 + 2;
        let calls = u64::try_from(bench.call_count()).unwrap();
        assert!(calls <= most, "{calls} calls a day for sessions of {lifetime:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_too_short_to_be_of_use_do_not_make_a_storm() {
    let bench = bench(|_, _| (Duration::ZERO, Ok(Duration::from_secs(61))));
    bench.assign("a", Prefetch::Now);
    bench.at(HOUR).await;
    assert!(bench.call_count() <= 361, "{}", bench.call_count());
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_ended_are_never_served() {
    for lifetime in [Duration::ZERO, Duration::from_secs(59)] {
        let bench = bench(move |_, _| (Duration::ZERO, Ok(lifetime)));
        bench.assign("a", Prefetch::No);
        let answer = bench.get("a").await.unwrap();
        assert!(matches!(answer, Err(FetchError::Unusable(_))), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_10_seconds_keeps_nobody_waiting() {
    let bench = bench(|_, _| (Duration::from_secs(10), Ok(HOUR)));
    bench.assign("a", Prefetch::Now);
    bench.at(MINUTE).await;
    let least = ask_all_day(&bench, "a").await;
    assert!(least >= 30 * MINUTE, "{least:?}");
}
