//! Measures podrole and keeps the figures; also the processes that measuring needs in pods and beside them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use podrole_tests::bench::figure::{Report, Size};
use podrole_tests::bench::{self, Part, Tools, bare, compare, page, worker};

/// What podrole costs.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures.
    Measure(Measure),
    /// Takes orders from standard input.
    Worker {
        #[arg(long)]
        processor: usize,
    },
    /// Takes connections and bytes.
    Sink {
        #[arg(long)]
        processor: usize,
        addresses: Vec<SocketAddr>,
    },
    /// Answers everything in the same way.
    Bare {
        #[arg(long)]
        processor: usize,
        /// What is answered.
        #[arg(long)]
        answer: PathBuf,
        /// Where, each written NAMESPACE=ADDRESS.
        at: Vec<bare::At>,
    },
}

#[derive(Args)]
struct Measure {
    /// Which parts; all, unless some are named.
    parts: Vec<Part>,
    /// Measures for a short time and says what has moved; keeps nothing.
    #[arg(long)]
    quick: bool,
    /// The agent's own tests.
    #[arg(long)]
    simulations: Option<PathBuf>,
    /// The checkout whose documents are written.
    #[arg(long)]
    checkout: PathBuf,
}

fn main() -> Result<()> {
    match Flags::parse().command {
        Command::Measure(measure) => measure.run(),
        Command::Worker { processor } => worker::work(processor),
        Command::Sink { processor, addresses } => {
            worker::sink(&addresses, processor, |address| println!("listening on {address}"))
        }
        Command::Bare { processor, answer, at } => {
            let answer = fs::read(&answer).with_context(|| answer.display().to_string())?;
            bare::serve(&at, &answer, processor)
        }
    }
}

impl Measure {
    fn run(&self) -> Result<()> {
        let parts = if self.parts.is_empty() { &Part::ALL[..] } else { &self.parts };
        let directory = self.checkout.join("docs/benchmarks");
        let tools = Tools { simulations: self.simulations.clone() };
        let size = if self.quick { Size::Quick } else { Size::Full };
        let mut moved = Vec::new();
        for &part in parts.iter().filter(|part| !self.quick || part.can_be_quick()) {
            let report = match bench::measure(part, size, &tools)? {
                Ok(report) => report,
                Err(why) => {
                    println!("{}: left out: {why}", part.name());
                    continue;
                }
            };
            print(part, &report);
            if let Some(before) = bench::kept(&directory, part)? {
                moved.extend(compare::moved(&before, &report));
            }
            if !self.quick {
                bench::keep(&directory, part, &report)?;
                self.write(part, &report)?;
            }
        }
        if self.quick {
            tell(&moved);
            return Ok(());
        }
        self.write_summary(&directory)
    }

    fn write(&self, part: Part, report: &Report) -> Result<()> {
        let path = self.checkout.join("docs/benchmarks.md");
        rewrite(&path, &format!("figures: {}", part.name()), &page::table(part, report))
    }

    fn write_summary(&self, directory: &Path) -> Result<()> {
        let kept = Part::ALL.into_iter().map(|part| bench::kept(directory, part));
        let kept: Vec<Option<Report>> = kept.collect::<Result<_>>()?;
        let reports: Vec<Report> = kept.into_iter().flatten().collect();
        rewrite(&self.checkout.join("README.md"), "ratios", &page::summary(&reports))
    }
}

fn rewrite(path: &Path, block: &str, content: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let text = page::replace(&text, block, content).with_context(|| path.display().to_string())?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn print(part: Part, report: &Report) {
    println!("{}\n{}", part.name(), page::table(part, report));
}

fn tell(moved: &[compare::Moved]) {
    if moved.is_empty() {
        println!("no ratio has moved by more than its spread");
    }
    for moved in moved {
        println!("MOVED: {moved}");
    }
}
