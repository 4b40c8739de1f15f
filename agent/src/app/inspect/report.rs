//! What `podrole report` shows: what enforce changes for each workload, and what is to be done first.

mod compose;
mod gather;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub(crate) use self::compose::{About, compose};
pub use self::gather::gather;
use super::Show;
use super::text::{Paint, table};
use crate::metadata::asks::{Counts, Who};

/// The answer to [`crate::operate::control::Question::Report`]: the workloads of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node's name.
    pub node: String,
    /// Its workloads.
    pub workloads: Vec<Workload>,
}

/// A workload, under enforce.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Which.
    #[serde(flatten)]
    pub who: Who,
    /// `audit` or `enforce`, or both.
    pub modes: Vec<String>,
    /// How many of its pods run.
    pub pods: u64,
    /// What it asked the real metadata service for, in audit.
    pub asked: Counts,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub says: String,
    /// The rule that answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// The role that it gives.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// Whether AWS gives the session as it would be asked for: `granted`, or the error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// The same without session tags, where it is refused with them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_without_tags: Option<String>,
    /// What it asked for and would not find.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_found: Vec<String>,
    /// What is to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub what_to_do: Option<String>,
    /// What may be pasted for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub paste: Vec<Paste>,
}

/// Something to paste.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paste {
    /// What it is.
    pub what: String,
    /// The text.
    pub text: String,
}

/// What becomes of a workload under enforce, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It asks for no role, or is left alone.
    Unchanged,
    /// It has its own role.
    HasRole,
    /// That cannot be told yet.
    Unknown,
    /// It asks for a role, or is mapped to one, and would get none.
    LosesAccess,
}

/// All nodes' workloads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The nodes that have told.
    pub nodes: Vec<String>,
    /// The agents that have not, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unanswered: Vec<Unanswered>,
    /// Their workloads.
    pub workloads: Vec<Workload>,
}

/// An agent that has not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Its node.
    pub node: String,
    /// Why not.
    pub error: String,
}

impl Report {
    /// Of what each node has told.
    #[must_use]
    pub fn of(told: Vec<NodeReport>, unanswered: Vec<Unanswered>) -> Self {
        let mut nodes = Vec::new();
        let mut workloads = BTreeMap::<Who, Workload>::new();
        for NodeReport { node, workloads: its } in told {
            nodes.push(node);
            for workload in its {
                match workloads.get_mut(&workload.who) {
                    Some(known) => known.merge(workload),
                    None => drop(workloads.insert(workload.who.clone(), workload)),
                }
            }
        }
        nodes.sort();
        Self { nodes, unanswered, workloads: workloads.into_values().collect() }
    }

    /// Whether no workload would lose access, as far as every agent can tell.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.unanswered.is_empty()
            && self.workloads.iter().all(|workload| workload.outcome <= Outcome::HasRole)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.workloads.iter().filter(|workload| workload.outcome == outcome).count()
    }
}

impl Workload {
    /// Takes in what another node has told of it: what is worse counts.
    fn merge(&mut self, other: Self) {
        let (pods, mut asked) = (self.pods + other.pods, self.asked.clone());
        asked.merge(&other.asked);
        let mut modes = self.modes.clone();
        modes.extend(other.modes.iter().filter(|mode| !self.modes.contains(mode)).cloned());
        modes.sort();
        let mut not_found = self.not_found.clone();
        let more = other.not_found.iter().filter(|path| !self.not_found.contains(path));
        not_found.extend(more.cloned());
        if other.outcome > self.outcome {
            *self = other;
        }
        (self.pods, self.asked, self.modes, self.not_found) = (pods, asked, modes, not_found);
    }

    fn name(&self) -> String {
        format!("{}/{}", self.who.namespace, self.who.workload)
    }

    fn row(&self, paint: Paint) -> [String; 4] {
        let outcome = match self.outcome {
            Outcome::Unchanged => "unchanged".to_owned(),
            Outcome::HasRole => paint.good("has its role"),
            Outcome::Unknown => paint.bad("not known yet"),
            Outcome::LosesAccess => paint.bad("LOSES ACCESS"),
        };
        [self.name(), asked(&self.asked), self.answers(), outcome]
    }

    /// The rule, its role, and what AWS says of it.
    fn answers(&self) -> String {
        let mut text = match (&self.rule, &self.role) {
            (Some(by), Some(role)) => format!("{by}: {role}"),
            (Some(by), None) => by.clone(),
            (None, _) => return "-".to_owned(),
        };
        if let Some(session) = &self.session {
            let short = session.split(':').next().unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = write!(text, "; STS: {short}");
        }
        if let Some(session) = &self.session_without_tags {
            let short = session.split(':').next().unwrap_or_default();
            let _ = write!(text, ", without tags {short}");
        }
        text
    }
}

fn asked(counts: &Counts) -> String {
    let Counts { tokens, role_lists, credentials, others, more } = counts;
    let mut asked = Vec::new();
    if counts.wants_role() {
        asked.push(if *tokens > 0 { "v2".to_owned() } else { "v1".to_owned() });
    }
    asked.extend((*role_lists > 0).then(|| format!("role list {role_lists}x")));
    asked.extend(credentials.iter().map(|(role, times)| format!("{role} {times}x")));
    let others = others.values().sum::<u64>() + more;
    asked.extend((others > 0).then(|| format!("other paths {others}x")));
    if asked.is_empty() { "nothing noted".to_owned() } else { asked.join(", ") }
}

impl Show for Report {
    fn show(&self, paint: Paint) -> String {
        let mut text = format!(
            "{} nodes, {} workloads: {} would lose access, {} not known yet, {} with a role of their own, {} unchanged\n",
            self.nodes.len(),
            self.workloads.len(),
            self.count(Outcome::LosesAccess),
            self.count(Outcome::Unknown),
            self.count(Outcome::HasRole),
            self.count(Outcome::Unchanged),
        );
        let rows: Vec<_> = self.workloads.iter().map(|workload| workload.row(paint)).collect();
        if !rows.is_empty() {
            text.push('\n');
            text += &table(["WORKLOAD", "ASKED FOR", "ANSWERED BY", "UNDER ENFORCE"], rows);
        }
        for Unanswered { node, error } in &self.unanswered {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "\n{}", paint.bad(format!("{node} has not told: {error}")));
        }
        for workload in &self.workloads {
            if workload.outcome > Outcome::HasRole || workload.what_to_do.is_some() {
                let _ = writeln!(text, "\n{}: {}", workload.name(), workload.says);
            }
            if let Some(what) = &workload.what_to_do {
                let _ = writeln!(text, "  What to do: {what}");
            }
            for Paste { what, text: paste } in &workload.paste {
                let indented = paste.lines().map(|line| format!("    {line}\n"));
                let _ = write!(text, "  {what}:\n{}", indented.collect::<String>());
            }
        }
        for workload in self.workloads.iter().filter(|workload| !workload.not_found.is_empty()) {
            let paths = workload.not_found.join(", ");
            let _ = writeln!(
                text,
                "\n{} asked for what pods do not get under enforce (--metadata-paths may add some of it): {paths}",
                workload.name()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests;
