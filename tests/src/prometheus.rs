//! A real Prometheus that scrapes the node's agent, in the node's network namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::curl;
use crate::place::Place;
use crate::process::{self, Process};
use crate::wait;

/// Where it answers, within the node.
const ADDRESS: &str = "127.0.0.1:9090";

/// What `cargo xtask test` installs where it is missing.
const OF_PACKAGE: &str = "Debian's package prometheus, which `cargo xtask test` installs";
/// For days of samples, on a busy machine.
const PROMTOOL_PATIENCE: Duration = Duration::from_mins(2);

/// A file of `deploy/observability` or beside the tests.
#[must_use]
pub fn file(below_the_root: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(below_the_root)
}

/// The alerts that are shipped.
#[must_use]
pub fn alerts() -> PathBuf {
    file("deploy/observability/alerts.yaml")
}

/// Runs promtool; what it says, if it is content.
///
/// # Errors
/// What it is not content with.
pub fn promtool(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("promtool");
    let done = process::run(command.args(arguments), b"", PROMTOOL_PATIENCE).context(OF_PACKAGE)?;
    ensure!(done.status.success(), "{}{}", done.text(), done.stderr);
    Ok(done.text())
}

/// A Prometheus that runs as long as its handle lives.
#[derive(Debug)]
pub struct Prometheus {
    place: Place,
    _process: Process,
}

impl Prometheus {
    /// Starts one that scrapes the node's agent and evaluates the shipped alerts every second.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let directory = cluster.directory().join("prometheus");
        fs::create_dir_all(&directory)?;
        let configuration = directory.join("prometheus.yml");
        let rules = alerts().canonicalize()?;
        let rules = rules.display();
        fs::write(
            &configuration,
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
                 rule_files: ['{rules}']\n\
                 scrape_configs:\n\
                 - job_name: podrole/podrole\n  \
                   static_configs: [{{targets: ['10.0.0.10:16926']}}]\n"
            ),
        )?;
        let place = cluster.node_place();
        let mut command = place.command("prometheus")?;
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.arg(format!("--web.listen-address={ADDRESS}"));
        let log = directory.join("prometheus.log");
        let process = Process::spawn("prometheus", &mut command, &log).context(OF_PACKAGE)?;
        let prometheus = Self { place, _process: process };
        wait::until_true("Prometheus", || {
            let ready = format!("http://{ADDRESS}/-/ready");
            let reply = curl::request(&prometheus.place, "GET", &ready, &[], "");
            Ok(reply.is_ok_and(|reply| reply.status == 200))
        })?;
        Ok(prometheus)
    }

    /// What the API has at `path`.
    fn get(&self, path: &str) -> Result<Value> {
        let url = format!("http://{ADDRESS}/api/v1/{path}");
        let reply = curl::request(&self.place, "GET", &url, &[], "")?;
        let answer: Value = serde_json::from_str(&reply.body).with_context(|| url.clone())?;
        ensure!(answer["status"] == "success", "{url}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The series of an expression as they are now: each one's labels and value.
    ///
    /// # Errors
    /// Where the expression is wrong.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let data = self.get(&format!("query?query={}", encoded(expression)))?;
        let series = data["result"].as_array().context("no result")?;
        let value = |series: &Value| {
            let text = series["value"][1].as_str().context("no value")?;
            Ok((series["metric"].clone(), text.parse::<f64>()?))
        };
        series.iter().map(value).collect()
    }

    /// The series of an expression between two moments.
    ///
    /// # Errors
    /// Where the expression is wrong.
    pub fn range(
        &self,
        expression: &str,
        (start, end): (f64, f64),
        step: u32,
    ) -> Result<Vec<Series>> {
        let query = encoded(expression);
        let path = format!("query_range?query={query}&start={start}&end={end}&step={step}");
        let data = self.get(&path)?;
        let series = data["result"].as_array().context("no result")?;
        let points = |series: &Value| {
            let values = series["values"].as_array().context("no values")?;
            let point = |value: &Value| {
                let text = value[1].as_str().context("no value")?;
                Ok((value[0].as_f64().context("no time")?, text.parse::<f64>()?))
            };
            let points = values.iter().map(point).collect::<Result<Vec<_>>>()?;
            Ok((series["metric"].clone(), points))
        };
        series.iter().map(points).collect()
    }

    /// The shipped alerts as they stand: each one's name, state and health.
    ///
    /// # Errors
    /// Where Prometheus does not tell.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        let data = self.get("rules")?;
        let rules = data.pointer("/groups/0/rules").and_then(Value::as_array);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alert = |rule: &Value| Alert {
            name: text(&rule["name"]),
            state: text(&rule["state"]),
            health: text(&rule["health"]),
            error: text(&rule["lastError"]),
        };
        Ok(rules.context("no rules")?.iter().map(alert).collect())
    }
}

/// A series over time: its labels, and pairs of time and value.
pub type Series = (Value, Vec<(f64, f64)>);

/// An alert as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// `inactive`, `pending` or `firing`.
    pub state: String,
    /// `ok` once it was evaluated.
    pub health: String,
    /// Why it cannot be.
    pub error: String,
}

fn encoded(expression: &str) -> String {
    utf8_percent_encode(expression, NON_ALPHANUMERIC).to_string()
}
