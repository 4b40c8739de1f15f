//! What clusters cost AWS and the API server: the agent's own simulation, which drives its broker and its
//! watches on a clock that jumps from event to event, run as the test that it is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Tools;
use super::figure::{Figure, Line, Measured, Size, Target, Unit};
use crate::process;

/// How long one may take.
const PATIENCE: Duration = Duration::from_hours(1);
/// Tells it where to write.
const FILE: &str = "PODROLE_FIGURES";
/// Tells it how many nodes to simulate.
const NODES: &str = "PODROLE_SIMULATED_NODES";

/// What a test of the agent's found.
#[derive(Deserialize)]
pub(super) struct Simulation {
    figures: Vec<Found>,
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Found {
    name: String,
    what: String,
    unit: Unit,
    value: f64,
    target: Option<Target>,
}

pub(super) fn measure(size: Size, tools: &Tools) -> Result<Result<Measured, String>> {
    let Some(simulations) = &tools.simulations else {
        return Ok(Err("the agent's tests are not given (--simulations)".to_owned()));
    };
    let nodes = size.of("10", "10,100", "10,1000,10000");
    Ok(Ok(simulate(simulations, "scale", &[(NODES, nodes)])?))
}

/// Runs the test that is called so.
pub(super) fn simulate(tests: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Measured> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("figures.json");
    let mut command = Command::new(tests);
    command.args([&format!("figures_of_{name}"), "--include-ignored", "--nocapture"]);
    command.env(FILE, &file).envs(settings.iter().copied());
    process::run(&mut command, b"", PATIENCE)?.ok().with_context(|| format!("simulate {name}"))?;
    let text = std::fs::read_to_string(&file).context("the simulation wrote no figures")?;
    let Simulation { figures, lines } = serde_json::from_str(&text)?;
    let figures = figures.into_iter().map(|found| {
        let figure = Figure::new(&found.name, &found.what, found.unit, &[found.value]);
        Figure { target: found.target, ..figure }
    });
    Ok(Measured { figures: figures.collect(), lines })
}
