//! What pods see, and what AWS sees, while AWS refuses, throttles or is down.

use std::time::Duration;

use super::bench::{Bench, HOUR, MINUTE, Scripted, bench, down, pod, refused, throttled};
use crate::credentials::FetchError;
use crate::credentials::broker::chance::Chance;
use crate::credentials::broker::{NoAnswer, Phase, Prefetch};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_for_45_seconds_and_not_repeated_unasked() {
    let bench = bench(|at, _| (Duration::ZERO, if at < HOUR { Err(refused()) } else { Ok(HOUR) }));
    bench.assign("a", Prefetch::Now);
    for _ in 0..100 {
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
    }
    bench.at(Duration::from_millis(44_999)).await;
    assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
    assert_eq!(bench.call_count(), 1);
    bench.at(45 * SECOND).await;
    assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
    assert_eq!(bench.call_count(), 2);
    bench.at(2 * HOUR).await;
    assert_eq!(bench.call_count(), 2);
    bench.get("a").await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_when_facts_change() {
    for assigned_anew in [true, false] {
        let bench =
            bench(|at, _| (Duration::ZERO, if at < SECOND { Err(refused()) } else { Ok(HOUR) }));
        bench.assign("a", Prefetch::No);
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
        bench.at(SECOND).await;
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), refused());
        if assigned_anew {
            bench.assign("a", Prefetch::No);
        } else {
            bench.broker.reconsider(pod("a"));
        }
        bench.get("a").await.unwrap().unwrap();
        assert_eq!(bench.call_count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_yesterdays_facts_is_not_believed() {
    // It was asked before the change and is answered after it.
    let bench = bench(|at, _| {
        (
            Duration::from_millis(300),
            if at < Duration::from_millis(100) { Err(refused()) } else { Ok(HOUR) },
        )
    });
    bench.assign("a", Prefetch::No);
    let asked = bench.get("a");
    let told = async {
        sleep(Duration::from_millis(200)).await;
        bench.broker.reconsider(pod("a"));
    };
    let (answer, ()) = tokio::join!(asked, told);
    answer.unwrap().unwrap();
    assert_eq!(bench.elapsed(), Duration::from_millis(600));
}

#[tokio::test(start_paused = true)]
async fn another_pod_of_the_same_session_does_not_ask_again() {
    let bench = bench(|_, _| (Duration::ZERO, Err(refused())));
    for of in ["one", "two", "three"] {
        bench.assign_to(of, "shared", Prefetch::No);
        assert_eq!(bench.get_as(of, "shared").await.unwrap().unwrap_err(), refused());
    }
    assert_eq!(bench.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_remembered_for_3_seconds_and_retried_unasked() {
    let bench =
        bench(|at, _| (Duration::ZERO, if at < 2 * SECOND { Err(down()) } else { Ok(HOUR) }));
    bench.assign("a", Prefetch::No);
    for _ in 0..100 {
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), down());
    }
    // One, one more while the pod waited, and no more.
    assert_eq!(bench.call_count(), 2);
    bench.at(4 * SECOND).await;
    assert_eq!(bench.state("a").await.phase, Phase::Held);
    assert_eq!(bench.call_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failure_is_told_as_what_it_is() {
    let (code, message) = ("Code", "why");
    for error in [
        throttled(),
        FetchError::RegionDisabled { message: message.into() },
        FetchError::NodeCredentials { code: code.into(), message: message.into() },
        FetchError::ClockSkew { code: code.into(), message: message.into() },
        FetchError::PodToken("it is not there yet".into()),
        FetchError::Unusable("it is no answer"),
    ] {
        let given = error.clone();
        let bench = bench(move |_, _| (Duration::ZERO, Err(given.clone())));
        bench.assign("a", Prefetch::No);
        assert_eq!(bench.get("a").await.unwrap().unwrap_err(), error);
        assert_eq!(bench.call_count(), 1);
        assert_eq!(bench.state("a").await.error, Some(error));
    }
}

/// STS is down for so long, from when the first refreshes are due.
fn down_for(outage: Duration) -> impl Fn(Duration, &str) -> Scripted {
    let from = 24 * MINUTE;
    move |at, _| {
        let is_down = (from..from + outage).contains(&at);
        (50 * SECOND / 1000, if is_down { Err(down()) } else { Ok(HOUR) })
    }
}

/// What 110 pods see that ask every 15 s: for how long any of them had no credentials, and how often
/// STS was asked while it was down.
async fn outage(length: Duration) -> (Duration, usize) {
    let bench = Bench::new(down_for(length), Chance::Random(5));
    let names: Vec<String> = (0..110).map(|n| format!("pod-{n}")).collect();
    for name in &names {
        bench.assign(name, Prefetch::Now);
    }
    bench.at(MINUTE).await;
    let (mut first, mut last) = (None, None);
    while bench.elapsed() < 3 * HOUR {
        let asked = bench.elapsed();
        let answers =
            futures_util::future::join_all(names.iter().map(|name| bench.get(name))).await;
        for answer in answers {
            match answer {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => {
                    assert_eq!(error, down());
                    first = first.or(Some(asked));
                    last = Some(asked);
                }
                Err(late) => {
                    assert_eq!(late, NoAnswer::NotYet);
                    first = first.or(Some(asked));
                    last = Some(asked);
                }
            }
        }
        bench.at(asked + 15 * SECOND).await;
    }
    let calls = bench.calls();
    let in_vain = calls.iter().filter(|call| down_for(length)(call.at, "").1.is_err()).count();
    let without = first.zip(last).map(|(first, last)| last.saturating_sub(first) + 15 * SECOND);
    let back = calls.iter().filter(|call| call.at > 24 * MINUTE + length).count();
    assert!(back >= 110 * 3, "{back} refreshes after the outage");
    (without.unwrap_or_default(), in_vain)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_20_minutes_is_not_seen() {
    let (without, in_vain) = outage(20 * MINUTE).await;
    assert_eq!(without, Duration::ZERO);
    assert!(in_vain < 400, "{in_vain} calls");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_40_minutes_is_seen_from_the_end_of_the_sessions_to_its_own() {
    let (without, in_vain) = outage(40 * MINUTE).await;
    // The sessions end from minute 60 on, and are served to minute 59; STS is back at minute 64.
    assert!(without <= 6 * MINUTE, "{without:?}");
    assert!(in_vain < 600, "{in_vain} calls");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_70_minutes_ends_within_a_minute() {
    let (without, in_vain) = outage(70 * MINUTE).await;
    assert!((35 * MINUTE..37 * MINUTE).contains(&without), "{without:?}");
    assert!(in_vain < 1000, "{in_vain} calls");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_served_whatever_aws_says() {
    for error in [refused(), throttled(), down(), FetchError::Unusable("rubbish")] {
        let given = error.clone();
        let bench = bench(move |at, _| {
            (Duration::ZERO, if at < MINUTE { Ok(HOUR) } else { Err(given.clone()) })
        });
        bench.assign("a", Prefetch::Now);
        for minute in 1..=59 {
            bench.at(minute * MINUTE).await;
            bench.get("a").await.unwrap().unwrap();
        }
        let state = bench.state("a").await;
        assert_eq!((state.phase, state.error), (Phase::Held, Some(error.clone())));
        bench.at(59 * MINUTE + SECOND).await;
        bench.get("a").await.unwrap().unwrap_err();
        let calls = bench.call_count();
        assert!(calls < 80, "{error}: {calls} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_slows_all_down_and_everyone_is_served_in_the_end() {
    // AWS allows this node 2 calls a second.
    let second = std::sync::Mutex::new((0, 0));
    let bench = bench(move |at, _| {
        let mut second = second.lock().unwrap();
        if second.0 != at.as_secs() {
            *second = (at.as_secs(), 0);
        }
        second.1 += 1;
        (50 * SECOND / 1000, if second.1 <= 2 { Ok(HOUR) } else { Err(throttled()) })
    });
    let names: Vec<String> = (0..110).map(|n| format!("pod-{n}")).collect();
    for name in &names {
        bench.assign(name, Prefetch::Now);
    }
    bench.at(5 * MINUTE).await;
    assert_eq!(bench.meters.held(), 110);
    let calls = bench.call_count();
    assert!(calls < 400, "{calls} calls for 110 sessions");
    assert!(bench.calls().last().unwrap().at < 4 * MINUTE);
}
