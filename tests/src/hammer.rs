//! A pod that asks the metadata service all the time, whatever happens, and what it got.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::http::{LIST, METADATA, Request};
use crate::place::Place;
use crate::pretend::node;
use crate::probe::{self, Exchange, Manner};
use crate::process::{self, Process};
use crate::wait::PATIENCE;

/// For each exchange.
const EACH: Manner = Manner { patience: Duration::from_secs(3), hang_up: false };
/// Between the exchanges of a thread: pods that connect more than 200 times a second are held up.
const BETWEEN: Duration = Duration::from_millis(20);
/// So much of an answer's body tells answers apart.
const BODY: usize = 40;

/// A process in a pod that asks for the role list, again and again.
#[derive(Debug)]
pub struct Hammer(Process);

/// How often it got what: `200 web`, `refused`, or the error.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally(BTreeMap<String, u64>);

impl Cluster {
    /// Starts to ask at `place`, by so many connections at once.
    pub fn hammer(&self, place: &Place, at_once: u32) -> Result<Hammer> {
        let mut command = place.command(process::own_binary("podrole-probe")?)?;
        command.args(["hammer", METADATA, "--at-once", &at_once.to_string()]);
        Ok(Hammer(Process::spawn("a hammer", &mut command, &self.fresh_file("hammer")?)?))
    }
}

impl Hammer {
    /// Ends it and gives what it got.
    pub fn finish(mut self) -> Result<Tally> {
        self.0.close_input();
        self.0.wait(PATIENCE)?;
        let output = self.0.output()?;
        serde_json::from_str(output.trim()).with_context(|| output.clone())
    }
}

impl Tally {
    /// How often it got an answer with status 200 and this body.
    #[must_use]
    pub fn served(&self, body: &str) -> u64 {
        self.0.get(&format!("200 {body}")).copied().unwrap_or_default()
    }

    /// How often nobody listened.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.get(REFUSED).copied().unwrap_or_default()
    }

    /// How often it got anything else than an answer with status 200 and one of these bodies.
    #[must_use]
    pub fn others(&self, bodies: &[&str]) -> u64 {
        let is_one = |got: &str| bodies.iter().any(|body| got == format!("200 {body}"));
        self.0.iter().filter(|(got, _)| !is_one(got)).map(|(_, times)| times).sum()
    }

    /// Whether anything of the node's was among the answers.
    #[must_use]
    pub fn has_the_nodes(&self) -> bool {
        self.0.keys().any(|got| got.contains(node::ROLE) || got.contains(node::LEAK_MARKER))
    }
}

const REFUSED: &str = "refused";

/// Tells threads to end.
#[derive(Debug, Default)]
pub struct Stop {
    told: Mutex<bool>,
    news: Condvar,
}

impl Stop {
    /// Tells all of them.
    pub fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_all();
    }

    /// Waits so long, or until told, and gives whether that was.
    fn wait(&self, at_most: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.news.wait_timeout_while(told, at_most, |told| !*told);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Asks until told to stop, on `at_once` threads.
#[must_use]
pub fn hammer(address: SocketAddr, at_once: u32, stop: &Stop) -> Tally {
    ask(address, at_once, stop, || true)
}

/// Asks so many times, as often as a pod may.
#[must_use]
pub fn repeat(address: SocketAddr, times: u32) -> Tally {
    // Within the 400 that a pod may at once, and the 200 that it may each second.
    const AT_ONCE: u32 = 5;
    let left = AtomicU32::new(times);
    let one_less = |left: u32| left.checked_sub(1);
    ask(address, AT_ONCE, &Stop::default(), || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    })
}

/// Asks on `at_once` threads, each until told to stop or until `go_on` says no.
fn ask(address: SocketAddr, at_once: u32, stop: &Stop, go_on: impl Fn() -> bool + Sync) -> Tally {
    let tally = Mutex::new(Tally::default());
    let request = Request::get(LIST);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while go_on() && !stop.wait(BETWEEN) {
                    let got = said(&request, &probe::tcp(address, &request.bytes(), EACH));
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    *tally.0.entry(got).or_default() += 1;
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn said(request: &Request, exchange: &Exchange) -> String {
    if exchange.refused() == Some(libc::ECONNREFUSED) {
        return REFUSED.to_owned();
    }
    match request.answer(&exchange.answer()) {
        Ok(answer) => {
            format!("{} {}", answer.status, &answer.body.get(..BODY).unwrap_or(&answer.body))
        }
        Err(_) => format!("{:?}", exchange.failure),
    }
}
