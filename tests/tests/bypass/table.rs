//! What came of the cases, for people.

use std::fmt::Write as _;

use crate::Tried;
use crate::guard::Guard;
use crate::vector::{Seen, Vector, Without};

/// A case that is done.
pub(crate) struct Row {
    pub(crate) vector: Vector,
    pub(crate) outcome: Outcome,
}

/// What came of it.
pub(crate) enum Outcome {
    /// It was tried without podrole, with it (which moved these guards), with its agent dead, and in audit.
    Tried { without: Seen, with: Seen, dead: Seen, audit: Seen, guards: Vec<Guard> },
    /// It cannot be tried here, for this reason.
    NotRun(String),
}

impl Outcome {
    pub(crate) fn of(
        without: Tried,
        with: Tried,
        dead: Tried,
        audit: Tried,
        guards: Vec<Guard>,
    ) -> Self {
        match (without, with, dead, audit) {
            (Ok(without), Ok(with), Ok(dead), Ok(audit)) => {
                Self::Tried { without, with, dead, audit, guards }
            }
            (Err(reason), ..)
            | (_, Err(reason), ..)
            | (_, _, Err(reason), _)
            | (_, _, _, Err(reason)) => Self::NotRun(reason.lines().collect::<Vec<_>>().join(" ")),
        }
    }
}

impl Row {
    pub(crate) fn is_wrong(&self) -> bool {
        self.complaint().is_some()
    }

    /// As the standard test harness says it.
    pub(crate) fn result(&self) -> String {
        match (&self.outcome, self.complaint()) {
            (Outcome::NotRun(reason), _) => format!("ignored, NOT RUN HERE: {reason}"),
            (_, None) => "ok".to_owned(),
            (_, Some(complaint)) => format!("FAILED: {complaint}"),
        }
    }

    fn complaint(&self) -> Option<String> {
        let Outcome::Tried { without, with, dead, audit, guards } = &self.outcome else {
            return None;
        };
        let Vector { without: before, with: after, guard, .. } = self.vector;
        let mut complaint = String::new();
        if !before.is_met_by(*without) {
            let _ = write!(complaint, "without podrole: {without}, not {before}. ");
        }
        if !after.is_met_by(*with) {
            let _ = write!(complaint, "with podrole: {with}, not {after}. ");
        }
        if !after.is_met_by_the_dead(*dead) {
            let _ = write!(complaint, "with the agent dead: {dead}. ");
        }
        if (audit.arrived > 0, audit.view) != (without.arrived > 0, without.view) {
            let _ = write!(complaint, "in audit: {audit}, not {without}. ");
        }
        if guards.as_slice() != guard.as_slice() {
            let _ = write!(complaint, "the guards that stopped it: {guards:?}, not {guard:?}. ");
        }
        (!complaint.is_empty()).then(|| complaint.trim_end().to_owned())
    }
}

/// All cases that went wrong, one a line.
pub(crate) fn wrong(rows: &[Row]) -> String {
    let mut text = String::from("these vectors did not go as the table says:\n");
    for row in rows {
        if let Some(complaint) = row.complaint() {
            let _ = writeln!(text, "  {}: {complaint}", row.vector.name);
        }
    }
    text
}

/// The table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| vector | without podrole | with podrole | its agent dead | in audit | guard |\n",
    );
    text.push_str("|---|---|---|---|---|---|\n");
    for Row { vector, outcome } in rows {
        let Outcome::Tried { without, with, dead, audit, guards } = outcome else { continue };
        let reason = match vector.without {
            Without::Leaks => String::new(),
            Without::Nothing(reason) => format!("; {reason}"),
        };
        let Vector { name, with: after, .. } = vector;
        let guards: Vec<_> = guards.iter().map(Guard::to_string).collect();
        let guard = guards.join(", ");
        let _ = writeln!(
            text,
            "| {name} | {without}{reason} | {after}: {with} | {dead} | {audit} | {guard} |"
        );
    }
    text
}

/// What was not tried.
pub(crate) fn not_run(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut tried = 0;
    for Row { vector, outcome } in rows {
        match outcome {
            Outcome::Tried { .. } => tried += 1,
            Outcome::NotRun(reason) => {
                let _ = writeln!(text, "NOT RUN HERE: {}: {reason}", vector.name);
            }
        }
    }
    let _ = write!(text, "{tried} vectors of {} tried", rows.len());
    text
}
