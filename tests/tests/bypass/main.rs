//! Every known way around podrole, one named case each, tried on one pretend node: without podrole it
//! must be seen to arrive at the metadata service; with podrole, and while its agent is dead, nothing
//! of it may; and in audit it goes as without.
//!
//! The cases are a table, and come out as one with `--nocapture`. What cannot be tried on this kernel is listed as not
//! run, with the reason.

mod connections;
mod datagrams;
mod guard;
mod networks;
mod raw;
mod scene;
mod table;
mod unusual;
mod vector;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use podrole_tests::cluster::Cluster;

use guard::{Counts, Guard};
use scene::{Held, Scene};
use table::{Outcome, Row};
use vector::{Seen, Vector, With};

/// What the names of all cases begin with.
const PREFIX: &str = "bypass::";

/// Longer than anything takes that is answered.
const ANSWERED: Duration = Duration::from_secs(5);
/// Long enough to see that nothing comes back; what leaves is counted elsewhere.
const UNANSWERED: Duration = Duration::from_millis(400);

/// The part of the standard test harness's command line that makes sense here.
#[derive(Parser)]
struct Flags {
    /// Run only cases whose names hold one of these words
    filter: Vec<String>,
    /// Print the names and run nothing
    #[arg(long)]
    list: bool,
    /// Leave out cases whose names hold this word
    #[arg(long)]
    skip: Vec<String>,
    /// The words of the filter are whole names
    #[arg(long)]
    exact: bool,
    /// Print the table too
    #[arg(long)]
    nocapture: bool,
    /// Understood, and without effect: cases run one by one
    #[arg(long)]
    test_threads: Option<usize>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let vectors: Vec<_> = all().into_iter().filter(|vector| flags.wants(vector)).collect();
    if flags.list {
        for vector in vectors {
            println!("{PREFIX}{}: test", vector.name);
        }
        return Ok(());
    }
    println!("\nrunning {} tests", vectors.len());
    if vectors.is_empty() {
        return Ok(());
    }
    Cluster::with(|cluster| {
        let rows = run(cluster, &vectors)?;
        if flags.nocapture {
            println!("{}", table::markdown(&rows));
        }
        ensure!(!rows.iter().any(Row::is_wrong), "{}", table::wrong(&rows));
        Ok(())
    })
}

fn all() -> Vec<Vector> {
    let kinds = [
        connections::vectors(),
        datagrams::vectors(),
        raw::sockets(),
        raw::frames(),
        connections::strangers(),
        connections::rings(),
        unusual::vectors(),
    ];
    kinds.concat()
}

fn run(cluster: &Cluster, vectors: &[Vector]) -> Result<Vec<Row>> {
    let scene = Scene::new(cluster)?;
    let held = hold(&scene, vectors, ANSWERED)?;
    let without = try_all(&scene, vectors, held, |_| ANSWERED)?;
    let for_with = hold(&scene, vectors, UNANSWERED)?;
    let for_dead = hold(&scene, vectors, UNANSWERED)?;
    let agent = cluster.agent().start()?;
    let (with, guards) = try_guarded(&scene, vectors, for_with)?;
    agent.kill()?;
    let dead = try_all(&scene, vectors, for_dead, patience)?;
    let _agent = cluster.agent().set("--mode", "audit").start()?;
    let for_audit = hold(&scene, vectors, ANSWERED)?;
    let audit = try_all(&scene, vectors, for_audit, |_| ANSWERED)?;
    let outcomes = without.into_iter().zip(with).zip(dead).zip(audit).zip(guards);
    let outcomes = outcomes.map(|((((without, with), dead), audit), guards)| {
        Outcome::of(without, with, dead, audit, guards)
    });
    let row = |(&vector, outcome)| Row { vector, outcome };
    let rows: Vec<_> = vectors.iter().zip(outcomes).map(row).collect();
    for row in &rows {
        println!("test {PREFIX}{} ... {}", row.vector.name, row.result());
    }
    println!("\n{}\n", table::not_run(&rows));
    Ok(rows)
}

fn try_all(
    scene: &Scene<'_>,
    vectors: &[Vector],
    held: Vec<Option<Held>>,
    patience: fn(With) -> Duration,
) -> Result<Vec<Tried>> {
    let each = vectors.iter().zip(held);
    each.map(|(vector, held)| scene.run(vector, held, patience(vector.with))).collect()
}

/// With the guards that each vector has moved.
fn try_guarded(
    scene: &Scene<'_>,
    vectors: &[Vector],
    held: Vec<Option<Held>>,
) -> Result<(Vec<Tried>, Vec<Vec<Guard>>)> {
    let mut before = Counts::read(scene.cluster)?;
    let each = vectors.iter().zip(held);
    let tried = each.map(|(vector, held)| {
        let tried = scene.run(vector, held, patience(vector.with))?;
        let now = Counts::read(scene.cluster)?;
        let moved = now.moved_since(&before);
        before = now;
        Ok((tried, moved))
    });
    Ok(tried.collect::<Result<Vec<_>>>()?.into_iter().unzip())
}

fn hold(scene: &Scene<'_>, vectors: &[Vector], patience: Duration) -> Result<Vec<Option<Held>>> {
    let held = |vector: &Vector| vector.held.then(|| scene.hold(vector, patience)).transpose();
    vectors.iter().map(held).collect()
}

fn patience(with: With) -> Duration {
    match with {
        With::Redirected | With::Refused | With::Reaches => ANSWERED,
        With::Silent | With::Nothing => UNANSWERED,
    }
}

impl Flags {
    fn wants(&self, vector: &Vector) -> bool {
        let name = format!("{PREFIX}{}", vector.name);
        let is = |word: &String| if self.exact { name == *word } else { name.contains(word) };
        (self.filter.is_empty() || self.filter.iter().any(is)) && !self.skip.iter().any(is)
    }
}

/// What was seen of a vector, or why it was not tried.
type Tried = Result<Seen, String>;
