//! Where the proxy's time goes, by `perf`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::figure::{Figure, Measured, Size, Unit};
use super::proxy::Scene;
use super::stage::on_cluster;
use crate::process::{self, Process};
use crate::wait;

/// How many of the most expensive functions are told.
const MOST: usize = 30;
/// The agent is watched for so long.
const LONG: Duration = Duration::from_secs(8);

pub(super) fn measure(size: Size) -> Result<Result<Measured, String>> {
    if size != Size::Full {
        return Ok(Err("a profile needs its time".to_owned()));
    }
    if Command::new("perf").arg("--version").output().is_err() {
        return Ok(Err("there is no perf here (Debian: linux-perf)".to_owned()));
    }
    on_cluster(|cluster| {
        let scene = Scene::new(cluster, 110)?;
        scene.load(1)?;
        let file = cluster.directory().join("perf.data");
        let mut command = Command::new("perf");
        command.args(["record", "--quiet", "--freq", "2999", "--event", "cpu-clock", "--pid"]);
        command.arg(scene.agent.id().to_string()).arg("--output").arg(&file);
        let log = cluster.fresh_file("perf")?;
        let mut perf = Process::spawn("perf", &mut command, &log)?;
        scene.load(LONG.as_secs())?;
        perf.signal(libc::SIGINT)?;
        perf.wait(wait::PATIENCE)?;
        let mut report = Command::new("perf");
        report.args(["report", "--stdio", "--no-children", "--fields", "overhead,dso,symbol"]);
        report.arg("--input").arg(&file);
        let said = process::run(&mut report, b"", wait::PATIENCE * 3)?;
        let said = said.ok().context("perf report")?;
        Ok(Ok(Measured { figures: read(&said), lines: Vec::new() }))
    })
}

/// The lines of a report: `  12.34%  podrole  [.] a::function`.
fn read(report: &str) -> Vec<Figure> {
    let line = |line: &str| {
        let (percent, rest) = line.trim().split_once('%')?;
        let percent: f64 = percent.parse().ok()?;
        let mut words = rest.split_whitespace();
        let (object, kind) = (words.next()?, words.next()?);
        let symbol = words.collect::<Vec<_>>().join(" ");
        let object = if kind == "[k]" { "kernel" } else { object };
        Some(Figure::new(&symbol, object, Unit::Percent, &[percent]))
    };
    report.lines().filter(|line| !line.starts_with('#')).filter_map(line).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_report_are_read() {
        let report = "# Samples: 24K\n#\n    12.34%  podrole           [.] a::b<c, d>\n     0.50%  [kernel.kallsyms]  [k] tcp_sendmsg\n\n";
        let figures = read(report);
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].name.as_str(), figures[0].what.as_str()), ("a::b<c, d>", "podrole"));
        assert!((figures[0].value - 12.34).abs() < 1e-9);
        assert_eq!(figures[1].what, "kernel");
    }
}
