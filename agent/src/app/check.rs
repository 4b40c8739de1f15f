//! `podrole check`: whether this node can run the agent, a line for each thing that it needs, with the
//! mend. Nothing is changed, and nothing is waited for longer than a few seconds.

mod aws;
mod cluster;
mod node;
mod pod;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use super::inspect::{Paint, Show, print, table};
use crate::settings::{CheckArguments, KernelSettings};

/// For each thing that is looked at.
const DEADLINE: Duration = Duration::from_secs(5);

/// Every finding of a run.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing is bad.
    good: bool,
    /// In the order in which they matter.
    findings: Vec<Finding>,
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The thing.
    check: &'static str,
    /// Whether it will do.
    outcome: Outcome,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// Whether something will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It is as the agent needs it.
    Good,
    /// The agent runs; something else is less than it could be, or could not be told.
    Unsure,
    /// The agent does not run so, or does not do its work.
    Bad,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Good, found: found.into(), mend: None }
    }

    fn unsure(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Unsure, mend: Some(mend.into()), ..Self::good(check, found) }
    }

    fn bad(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { outcome: Outcome::Bad, mend: Some(mend.into()), ..Self::good(check, found) }
    }

    /// What an error says, whose text has its own mend.
    fn of_error(check: &'static str, error: &dyn std::error::Error) -> Self {
        let text = crate::report::Chain(error).to_string();
        Self { outcome: Outcome::Bad, ..Self::good(check, text) }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Unsure => "look",
            Self::Bad => "FAIL",
        })
    }
}

/// Looks at everything; good if nothing is bad. `kernel` is what `arguments` say of the kernel's part.
pub async fn check(arguments: &CheckArguments, kernel: &KernelSettings) -> ExitCode {
    let findings = match &arguments.pod {
        Some(name) => pod::way(arguments, name).await,
        None => Box::pin(all(arguments, kernel)).await,
    };
    let good = findings.iter().all(|finding| finding.outcome != Outcome::Bad);
    print(arguments.output.output, &Report { good, findings });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn all(arguments: &CheckArguments, kernel: &KernelSettings) -> Vec<Finding> {
    let mut findings = vec![
        node::kernel(),
        node::guards(kernel),
        node::capabilities(),
        node::cgroup2(),
        node::pods(kernel.pod_cgroup.as_deref()),
        node::bpf_fs(&kernel.bpf_fs),
        node::addresses(&arguments.kernel.listen),
    ];
    let (agent, metadata, own, rights) = tokio::join!(
        within("agent", node::agent(&arguments.socket.socket, kernel)),
        within("metadata service", aws::metadata(&arguments.kernel.metadata_address)),
        within("AWS identity", aws::identity()),
        within("API server", cluster::rights()),
    );
    findings.extend([agent, metadata, own, rights].into_iter().flatten());
    findings
}

async fn within(check: &'static str, looking: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    timeout(DEADLINE, looking).await.unwrap_or_else(|_| {
        let found = format!("no answer within {} s", DEADLINE.as_secs());
        vec![Finding::bad(check, found, "see whether a firewall or a proxy stands in between")]
    })
}

impl Report {
    fn summary(&self, paint: Paint) -> String {
        let count = |outcome| self.findings.iter().filter(|f| f.outcome == outcome).count();
        let (good, unsure, bad) =
            (count(Outcome::Good), count(Outcome::Unsure), count(Outcome::Bad));
        let bad = match bad {
            0 => "none fails".to_owned(),
            1 => paint.bad("1 fails"),
            more => paint.bad(format!("{more} fail")),
        };
        format!("\n{good} ok, {unsure} to look at, {bad}\n")
    }
}

impl Show for Report {
    fn show(&self, paint: Paint) -> String {
        let rows = self.findings.iter().map(|finding| {
            let mend = finding.mend.as_deref().map(|mend| format!("\n-> {mend}"));
            let what = format!("{}{}", finding.found, mend.unwrap_or_default());
            [finding.outcome.to_string(), finding.check.to_owned(), what]
        });
        let text = table(["", "CHECK", "FOUND"], rows.collect());
        let lines = text.lines().map(|line| match line.split_once(' ') {
            Some(("FAIL", rest)) => format!("{} {rest}\n", paint.bad("FAIL")),
            Some(("ok", rest)) => format!("{} {rest}\n", paint.good("ok")),
            Some(("look", rest)) => format!("{} {rest}\n", paint.unsure("look")),
            _ => format!("{line}\n"),
        });
        lines.chain([self.summary(paint)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_line_and_its_mend_below() {
        let findings = vec![
            Finding::good("kernel", "Linux 6.18.0"),
            Finding::bad("rights", "may not list pods", "apply deploy/rbac.yaml"),
        ];
        let text = Report { good: false, findings }.show(Paint::none());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "ok    kernel  Linux 6.18.0");
        assert_eq!(lines[2], "FAIL  rights  may not list pods");
        assert_eq!(lines[3], "              -> apply deploy/rbac.yaml");
        assert_eq!(lines[5], "1 ok, 0 to look at, 1 fails");
    }
}
