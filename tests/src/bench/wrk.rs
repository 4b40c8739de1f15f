//! The load generator `wrk`, in pods.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::figure::wide;
use super::histogram::Histogram;
use super::stage::processors;
use crate::cluster::Cluster;
use crate::place::Place;
use crate::wait;

/// How each place asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'l> {
    /// The server, with a port.
    pub(super) server: &'l str,
    /// Connections of each place.
    pub(super) connections: usize,
    /// Whether each request has a connection of its own.
    pub(super) fresh: bool,
    /// Of the whole, in seconds.
    pub(super) seconds: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) latencies: Histogram,
}

/// A load generator that runs.
struct Running {
    child: Child,
    output: File,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended, which is nearly always, there is nothing to end.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Load<'_> {
    /// Asks from all places at once, each for its path.
    pub(super) fn run(&self, cluster: &Cluster, places: &[(&Place, String)]) -> Result<Outcome> {
        let script = cluster.directory().join("dump.lua");
        std::fs::write(&script, include_str!("dump.lua"))?;
        let script = script.display().to_string();
        let started: Result<Vec<_>> =
            places.iter().map(|(place, path)| self.start(place, path, &script)).collect();
        let mut outcome = Outcome { requests: 0, per_second: 0.0, latencies: Histogram::default() };
        for mut running in started? {
            let within = Duration::from_secs(self.seconds) + wait::PATIENCE;
            wait::until("the end of wrk", within, || Ok(running.child.try_wait()?))?;
            let mut said = String::new();
            running.output.rewind()?;
            running.output.read_to_string(&mut said)?;
            outcome.take(&said).with_context(|| said.clone())?;
        }
        Ok(outcome)
    }

    fn start(&self, place: &Place, path: &str, script: &str) -> Result<Running> {
        let mut command = place.command("taskset")?;
        command.args(["--cpu-list", &processors().client.to_string()]);
        command.args(["wrk", "--threads", "1", "--script", script]);
        command.args(["--connections", &self.connections.to_string()]);
        command.args(["--duration", &format!("{}s", self.seconds)]);
        command.args(["--header", "Host: 169.254.169.254"]);
        if self.fresh {
            command.args(["--header", "Connection: close"]);
        }
        command.arg(format!("http://{}{path}", self.server));
        let output = tempfile::tempfile()?;
        let errors = output.try_clone()?;
        let output_of_child = output.try_clone()?;
        command.stdin(Stdio::null()).stdout(output_of_child).stderr(errors);
        let child = command.spawn().context("start wrk: is it installed?")?;
        Ok(Running { child, output })
    }
}

impl Outcome {
    /// Takes in what one of them said.
    fn take(&mut self, said: &str) -> Result<()> {
        let mut counted = false;
        for line in said.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["counted", requests, microseconds, errors] => {
                    let (requests, microseconds): (u64, u64) =
                        (requests.parse()?, microseconds.parse()?);
                    ensure!(*errors == "0", "{errors} requests failed");
                    self.requests += requests;
                    self.per_second += wide(requests) / (wide(microseconds) / 1e6);
                    counted = true;
                }
                ["latency", microseconds, count] => {
                    self.latencies.add(microseconds.parse()?, count.parse()?);
                }
                _ => {}
            }
        }
        ensure!(counted, "wrk counted nothing");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_counted_is_added_up() {
        let mut outcome = Outcome { requests: 0, per_second: 0.0, latencies: Histogram::default() };
        let said = "Running 1s test\ncounted 100 1000000 0\nlatency 10 99\nlatency 30 1\n";
        outcome.take(said).unwrap();
        outcome.take(said).unwrap();
        assert_eq!(outcome.requests, 200);
        assert!((outcome.per_second - 200.0).abs() < 1e-9);
        assert!((outcome.latencies.quantile(0.99) - 10.0).abs() < 1e-9);
        assert!(outcome.take("counted 100 1000000 1\n").is_err(), "a failed request");
        assert!(outcome.take("unable to connect\n").is_err());
    }
}
