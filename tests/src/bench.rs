//! Measurements of podrole, each beside what it is compared with: the same thing run in turn with it, in
//! one go, on the real path (pods in network namespaces and cgroups, the real programs and agent).
//!
//! A ratio is made of each round by itself and the median of all rounds is the figure, so that what
//! slows the machine for a while slows both sides of a ratio.

pub mod bare;
pub mod compare;
pub mod figure;
mod first;
mod histogram;
mod hooks;
mod memory;
mod others;
pub mod page;
mod plot;
mod profile;
mod proxy;
mod redirect;
mod scale;
mod stage;
mod usage;
pub mod worker;
mod wrk;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use self::figure::{Report, Size};

/// Something that is measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What other programs of the node pay for the hooks.
    Hooks,
    /// What the redirect adds to a connection.
    Redirect,
    /// The proxy beside a bare HTTP server.
    Proxy,
    /// From a new pod's first instruction to its credentials.
    First,
    /// Memory, CPU time, time to readiness.
    Memory,
    /// What clusters of any size cost AWS and the API server, simulated.
    Scale,
    /// Where the proxy's time goes.
    Profile,
}

impl Part {
    /// All, in the order of the page.
    pub const ALL: [Self; 7] = [
        Self::Hooks,
        Self::Redirect,
        Self::Proxy,
        Self::First,
        Self::Memory,
        Self::Scale,
        Self::Profile,
    ];

    /// Its name: of its argument, and of its files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Redirect => "redirect",
            Self::Proxy => "proxy",
            Self::First => "first",
            Self::Memory => "memory",
            Self::Scale => "scale",
            Self::Profile => "profile",
        }
    }

    /// Whether it says the same when it is run for a moment only.
    #[must_use]
    pub fn can_be_quick(self) -> bool {
        !matches!(self, Self::Profile)
    }
}

/// What measures beside this program.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The agent's own tests, whose simulations some parts are made of. Those parts are left out
    /// without it.
    pub simulations: Option<PathBuf>,
}

/// Measures one part; nothing where it cannot be had here, and why.
pub fn measure(part: Part, size: Size, tools: &Tools) -> Result<Result<Report, String>> {
    let figures = match part {
        Part::Hooks => Ok(hooks::measure(size)?),
        Part::Redirect => Ok(redirect::measure(size)?),
        Part::Proxy => Ok(proxy::measure(size)?),
        Part::First => Ok(first::measure(size)?),
        Part::Memory => Ok(memory::measure(size, tools)?),
        Part::Scale => scale::measure(size, tools)?,
        Part::Profile => profile::measure(size)?,
    };
    Ok(figures.map(|measured| Report::new(part.name(), size, measured)))
}

/// Where a part's figures are kept.
#[must_use]
pub fn file(directory: &std::path::Path, part: Part) -> PathBuf {
    directory.join(part.name()).with_extension("json")
}

/// What was kept of a part; nothing where it never was.
pub fn kept(directory: &std::path::Path, part: Part) -> Result<Option<Report>> {
    let path = file(directory, part);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display())).map(Some)
}

/// Keeps what was measured of a part, with its plot.
pub fn keep(directory: &std::path::Path, part: Part, report: &Report) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(file(directory, part), text)?;
    plot::draw(directory, part, report)
}
