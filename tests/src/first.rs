//! The first thing that a new pod does: it asks for its role and takes that role's credentials.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::http::{Answer, LIST, METADATA, Request};
use crate::place::Place;
use crate::probe::{self, Manner};
use crate::process;
use crate::wait;

/// For one exchange. An SDK gives up sooner, which the time that it took shows.
const EACH: Manner = Manner { patience: Duration::from_secs(5), hang_up: false };

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct First {
    /// The status of the very first answer, to the question for the role; 0 where there was none.
    pub status: u16,
    /// What that answer said.
    pub said: String,
    /// From the connect to the end of that answer, in microseconds.
    pub took_us: u64,
    /// From the connect to the end of the credentials document, in microseconds, with all that was asked
    /// in vain before.
    pub in_hand_us: u64,
    /// The credentials document of that role, however often it had to be asked for.
    pub document: Option<String>,
}

/// A process that asks.
#[derive(Debug)]
pub struct Asking {
    child: Child,
    output: File,
}

impl Place {
    /// Starts a process here whose first instruction is to ask.
    pub fn ask_first(&self) -> Result<Asking> {
        let output = tempfile::tempfile()?;
        let mut command = self.command(process::own_binary("podrole-probe")?)?;
        command.args(["first", METADATA]).stdin(Stdio::null());
        let child = command.stdout(output.try_clone()?).spawn().context("start a process")?;
        Ok(Asking { child, output })
    }
}

impl Asking {
    /// Waits for what comes of it.
    pub fn finish(mut self) -> Result<First> {
        let ended = wait::until("the end of a process that asks", wait::PATIENCE * 2, || {
            Ok(self.child.try_wait()?)
        });
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        ended?;
        let mut said = String::new();
        self.output.rewind()?;
        self.output.read_to_string(&mut said)?;
        serde_json::from_str(&said).with_context(|| said.clone())
    }
}

/// Asks, from inside of the pod.
#[must_use]
pub fn ask(address: SocketAddr) -> First {
    let start = Instant::now();
    let answer = get(address, LIST);
    let micros = || u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    let took_us = micros();
    let (status, said) = match answer {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, format!("{error:#}")),
    };
    let document = (status == 200).then(|| document(address, &said)).flatten();
    First { status, said, took_us, in_hand_us: micros(), document }
}

/// Asks for a role's credentials until they are given.
fn document(address: SocketAddr, role: &str) -> Option<String> {
    let given = wait::until("credentials", wait::PATIENCE, || {
        let answer = get(address, &format!("{LIST}{role}"));
        Ok(answer.ok().filter(|answer| answer.status == 200))
    });
    given.ok().map(|answer| answer.body)
}

fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    let request = Request::get(path);
    let exchange = probe::tcp(address, &request.bytes(), EACH);
    request.answer(&exchange.answer()).with_context(|| format!("{:?}", exchange.failure))
}
