//! Whatever becomes of the API server, who is known stays known, and nobody is taken for another.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use podrole_tests::http::LIST;
use podrole_tests::kubernetes::{Behaviour, Telling, Way};
use tokio::time::Instant;

use super::{has_leak, hold_watches, with_lag};

/// An answer that cannot be given comes within this: SDKs give up after a second.
const BUDGET: Duration = Duration::from_secs(1);

fn pods(answer: Way, delay_ms: u64) -> Behaviour {
    Behaviour { answer, delay_ms, resource: Some("pods".to_owned()), ..Behaviour::default() }
}

#[test]
fn a_pod_that_nobody_can_tell_of_waits_and_others_do_not() -> Result<()> {
    with_lag(|cluster| {
        let known = cluster.pod("known").role("known").start()?;
        assert!(has_leak(&known)?);
        let _agent = cluster.agent().start()?;
        known.credentials_of("known")?;
        let ways = [Way::Silent, Way::Reset, Way::Unavailable, Way::Forbidden, Way::Rubbish];
        hold_watches(cluster, true)?;
        let late = ways.map(|answer| {
            let name = format!("{answer:?}").to_lowercase();
            cluster.pod(&name).role(&name).start()
        });
        for (answer, late) in ways.into_iter().zip(&late) {
            let late = late.as_ref().map_err(|error| anyhow!("{error:#}"))?;
            cluster.kubernetes.behave(&pods(answer, 0))?;
            let asked = Instant::now();
            let none = late.get(LIST)?;
            assert_eq!(none.status, 503, "{answer:?}: {none:?}");
            assert!(none.header("Retry-After").is_some(), "{none:?}");
            assert!(asked.elapsed() < BUDGET, "{answer:?}: {:?}", asked.elapsed());
            known.credentials_of("known").with_context(|| format!("{answer:?}"))?;
        }
        cluster.kubernetes.behave(&Behaviour::default())?;
        hold_watches(cluster, false)?;
        for late in late {
            let late = late?;
            late.wait_for_role(&late.name)?;
        }
        Ok(())
    })
}

#[test]
fn a_pod_that_the_watch_is_late_with_is_found_in_a_slow_list() -> Result<()> {
    with_lag(|cluster| {
        let known = cluster.pod("known").role("known").start()?;
        assert!(has_leak(&known)?);
        let _agent = cluster.agent().start()?;
        hold_watches(cluster, true)?;
        let late = cluster.pod("late").role("late").unreported().start()?;
        cluster.kubernetes.behave(&pods(Way::Normal, 200))?;
        let answer = late.get(LIST)?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "late"));
        Ok(())
    })
}

#[test]
fn pods_that_are_told_of_twice_or_out_of_order_are_still_themselves() -> Result<()> {
    for (twice, backwards) in [(true, false), (false, true), (true, true)] {
        with_lag(|cluster| {
            let first = cluster.pod("first").role("first").start()?;
            assert!(has_leak(&first)?);
            let _agent = cluster.agent().start()?;
            first.wait_for_role("first")?;
            let address = first.address().context("a pod has addresses")?;
            hold_watches(cluster, true)?;
            first.delete()?;
            let second = cluster.pod("second").role("second").address(address).start()?;
            let third = cluster.pod("third").role("third").start()?;
            let telling = Telling { resource: None, held: false, twice, backwards };
            cluster.kubernetes.tell(&telling)?;
            for pod in [&second, &third] {
                pod.wait_for_role(&pod.name)?;
                assert_eq!(
                    pod.credentials_of(&pod.name)?.session()?.tags["kubernetes-pod-uid"],
                    pod.uid
                );
            }
            assert_ne!(second.get(&format!("{LIST}first"))?.status, 200);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_watch_that_starts_over_finds_who_came_and_forgets_who_went() -> Result<()> {
    with_lag(|cluster| {
        let first = cluster.pod("first").role("first").start()?;
        assert!(has_leak(&first)?);
        let _agent = cluster.agent().start()?;
        first.wait_for_role("first")?;
        let address = first.address().context("a pod has addresses")?;
        hold_watches(cluster, true)?;
        first.delete()?;
        let second = cluster.pod("second").role("second").address(address).start()?;
        cluster.kubernetes.forget_history()?;
        hold_watches(cluster, false)?;
        second.wait_for_role("second")?;
        assert_ne!(second.get(&format!("{LIST}first"))?.status, 200);
        Ok(())
    })
}
