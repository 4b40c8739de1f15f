//! The benchmarks work: each part, for a moment. What they say then means nothing.

use anyhow::{Result, ensure};
use podrole_tests::bench::figure::{Report, Size};
use podrole_tests::bench::{self, Part, Tools, page};

fn measure(part: Part) -> Result<Report> {
    let report = bench::measure(part, Size::Smoke, &Tools::default())?;
    report.map_err(|why| anyhow::anyhow!(why))
}

/// Every figure is a number, and what is written can be read again.
fn check(part: Part, expected: &str) -> Result<()> {
    let report = measure(part)?;
    for figure in &report.figures {
        let numbers = [figure.low, figure.value, figure.high];
        ensure!(numbers.iter().all(|number| number.is_finite()), "{figure:?}");
    }
    ensure!(report.figure(expected).is_some(), "no {expected} in {:?}", report.figures);
    ensure!(page::table(part, &report).lines().count() > report.figures.len());
    let directory = tempfile::tempdir()?;
    bench::keep(directory.path(), part, &report)?;
    let kept = bench::kept(directory.path(), part)?;
    ensure!(kept.is_some_and(|kept| kept.figures.len() == report.figures.len()));
    Ok(())
}

#[test]
fn hooks_are_measured() -> Result<()> {
    check(Part::Hooks, "pod-connect")
}

#[test]
fn the_redirect_is_measured() -> Result<()> {
    check(Part::Redirect, "podrole-to-dnat")
}

#[test]
fn the_proxy_is_measured() -> Result<()> {
    check(Part::Proxy, "full-node-throughput")
}

#[test]
fn first_credentials_are_measured() -> Result<()> {
    check(Part::First, "mapped-4-50-p50")
}

#[test]
fn memory_is_measured() -> Result<()> {
    check(Part::Memory, "resident-idle")
}

#[test]
fn parts_that_need_more_say_so() -> Result<()> {
    for part in [Part::Scale, Part::Profile] {
        let left_out = bench::measure(part, Size::Smoke, &Tools::default())?;
        ensure!(left_out.is_err_and(|why| !why.is_empty()));
    }
    Ok(())
}

#[test]
fn the_page_has_a_block_for_each_part() -> Result<()> {
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(checkout.join("docs/benchmarks.md"))?;
    for part in Part::ALL {
        page::replace(&text, &format!("figures: {}", part.name()), "")?;
    }
    let front = std::fs::read_to_string(checkout.join("README.md"))?;
    page::replace(&front, "ratios", "").map(drop)
}
