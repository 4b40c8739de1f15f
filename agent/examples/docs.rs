//! Prints a generated part of the documentation, `flags` or `metrics`: `cargo xtask docs` keeps them in
//! `docs`.

use std::io::{self, Write as _};

use podrole::operate::metrics::reference as metrics;
use podrole::settings::reference as settings;

fn main() -> anyhow::Result<()> {
    let text = match std::env::args().nth(1).as_deref() {
        Some("flags") => settings::page(),
        Some("metrics") => metrics::table(),
        other => anyhow::bail!("{other:?} is neither `flags` nor `metrics`"),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
