//! The tables in the documents: written between marks, the words around them are people's.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::Part;
use super::figure::{Figure, Machine, Report, Size, Target, Unit};

/// `text` with the block called `name` replaced by `content`.
///
/// # Errors
/// Where there is no such block.
pub fn replace(text: &str, name: &str, content: &str) -> Result<String> {
    const END: &str = "<!-- end -->";
    let begin = format!("<!-- {name} -->\n");
    let missing = || format!("there is no block `{name}`");
    let (before, rest) = text.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{begin}{content}{END}{after}"))
}

/// The table of a part.
#[must_use]
pub fn table(part: Part, report: &Report) -> String {
    let Report { machine, size, figures, .. } = report;
    let Machine { processor, processors, kernel } = machine;
    let mut text = match size {
        Size::Full => String::new(),
        Size::Smoke | Size::Quick => "Of a short run: figures are rough.\n".to_owned(),
    };
    let _ = writeln!(text, "Measured on {processors} processors ({processor}), Linux {kernel}.\n");
    if part == Part::Profile {
        text += "| share | where | function |\n|---|---|---|\n";
        for Figure { name, what, value, .. } in figures {
            let _ = writeln!(text, "| {value:.1} % | {what} | `{}` |", name.replace('|', "\\|"));
        }
        return text;
    }
    text += "| what | figure | quartiles | target |\n|---|---|---|---|\n";
    for figure in figures {
        let quartiles = if figure.rounds > 1 {
            format!("{} to {}", number(figure, figure.low), number(figure, figure.high))
        } else {
            String::new()
        };
        let value = shown(figure);
        let _ = writeln!(
            text,
            "| {} | {value} | {quartiles} | {} |",
            figure.what,
            figure.target.map_or_else(String::new, |target| aim(figure, target))
        );
    }
    if let Some(shows) = plot(part) {
        let _ = writeln!(text, "\n![{shows}](benchmarks/{}.svg)", part.name());
    }
    text
}

/// What the plot of a part shows, if it has one.
fn plot(part: Part) -> Option<&'static str> {
    match part {
        Part::Hooks => Some("What each program takes"),
        Part::Redirect | Part::First => Some("Distribution of the times"),
        Part::Proxy => Some("Latency at full load"),
        Part::Memory => Some("Resident memory"),
        Part::Scale => Some("Calls over the day"),
        Part::Profile => None,
    }
}

/// What the front page says.
#[must_use]
pub fn summary(reports: &[Report]) -> String {
    let find = |part: Part, name: &str| {
        let report = reports.iter().find(|report| report.part == part.name())?;
        report.figure(name).map(shown)
    };
    let sentences = [
        find(Part::Redirect, "podrole").map(|ratio| {
            format!("a redirected connection takes {ratio} times what a direct one does")
        }),
        find(Part::Redirect, "dnat")
            .map(|ratio| format!("one through DNAT as kube2iam's {ratio} times")),
        find(Part::Proxy, "full-node-throughput")
            .map(|ratio| format!("the proxy answers 110 pods at once {ratio} times as many requests as a bare server of the same HTTP library")),
        find(Part::Proxy, "keep-alive-throughput")
            .map(|ratio| format!("a single pod that asks by 32 connections {ratio} times as many")),
        find(Part::Hooks, "pod-connect").map(|ratio| {
            format!("a pod's connection to elsewhere, closed at once, takes {ratio} times what it does without podrole")
        }),
    ];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    if sentences.is_empty() {
        return String::new();
    }
    format!("Measured ([docs/benchmarks.md](docs/benchmarks.md)): {}.\n", sentences.join("; "))
}

fn aim(figure: &Figure, target: Target) -> String {
    let (word, value) = match target {
        Target::AtMost(value) => ("at most", value),
        Target::AtLeast(value) => ("at least", value),
    };
    let met = if figure.is_met() == Some(true) { "met" } else { "**not met**" };
    format!("{word} {}: {met}", number(figure, value))
}

fn shown(figure: &Figure) -> String {
    let unit = match figure.unit {
        Unit::Ratio | Unit::Count => "",
        Unit::Nanoseconds => " ns",
        Unit::Microseconds => " µs",
        Unit::Milliseconds => " ms",
        Unit::Seconds => " s",
        Unit::PerSecond => " /s",
        Unit::Kibibytes => " KiB",
        Unit::Percent => " %",
    };
    format!("{}{unit}", number(figure, figure.value))
}

fn number(figure: &Figure, value: f64) -> String {
    match figure.unit {
        Unit::Ratio if value < 10.0 => format!("{value:.3}"),
        Unit::Ratio => format!("{value:.0}"),
        _ if value.abs() >= 100.0 => format!("{value:.0}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_replaced_and_all_else_stays() {
        let text = "a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\nother\n<!-- end -->\n";
        let replaced = replace(text, "x", "new\n").unwrap();
        assert_eq!(replaced, text.replace("old", "new"));
        assert!(replace(text, "z", "").is_err());
    }

    #[test]
    fn a_row_says_whether_its_target_is_met() {
        let figure = Figure::new("a", "a thing", Unit::Ratio, &[1.02, 1.04]);
        let figures = vec![figure.target(Target::AtMost(1.01))];
        let report = Report {
            part: "hooks".to_owned(),
            size: Size::Full,
            machine: Machine::this(),
            figures,
            lines: Vec::new(),
        };
        let table = table(Part::Hooks, &report);
        let row = "| a thing | 1.030 | 1.025 to 1.035 | at most 1.010: **not met** |";
        assert!(table.lines().any(|line| line == row), "{table}");
    }
}
