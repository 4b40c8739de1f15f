//! Draws the dashboard's panels of a real run, with an outage in it, into `docs/dashboard.svg`: an SVG is
//! all that documentation needs, and Grafana is a service of its own.

use std::fs;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use podrole_tests::cluster::Cluster;
use podrole_tests::dashboard::{Dashboard, Panel};
use podrole_tests::http::LIST;
use podrole_tests::place::Place;
use podrole_tests::pod::Pod;
use podrole_tests::pretend::sts::behaviour::Way;
use podrole_tests::prometheus::{Prometheus, file};
use podrole_tests::wait;
use serde_json::Value;
use tokio::time::Instant;

use super::be_busy;

const PICTURE: &str = "docs/dashboard.svg";
/// How long pods are busy, and between two of what they do.
const LASTS: Duration = Duration::from_mins(4);
const EVERY: Duration = Duration::from_millis(200);
/// While STS fails.
const OUTAGE: Range<u64> = 90..150;
/// Between two points of a line, in seconds.
const STEP: u32 = 3;

const COLUMNS: u32 = 3;
const WIDTH: u32 = 400;
const HEIGHT: u32 = 190;
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
];

/// A line of a panel: its name, and pairs of seconds since the start and value.
type Line = (String, Vec<(f64, f64)>);

#[test]
#[ignore = "takes four minutes and writes docs/dashboard.svg"]
fn the_dashboard_is_drawn_from_a_real_run() -> Result<()> {
    Cluster::with(|cluster| {
        let _agent = cluster.agent().start()?;
        let prometheus = Prometheus::start(cluster)?;
        let start = now(&prometheus)?;
        run(cluster)?;
        let end = now(&prometheus)?;
        let dashboard = Dashboard::read()?;
        let panels: Vec<_> = dashboard.panels.iter().filter(|p| p.kind == "timeseries").collect();
        let rows = u32::try_from(panels.len())?.div_ceil(COLUMNS);
        let mut picture = String::new();
        {
            let size = (WIDTH * COLUMNS, HEIGHT * rows);
            let area = SVGBackend::with_string(&mut picture, size).into_drawing_area();
            area.fill(&WHITE).map_err(drawing)?;
            let (rows, columns) = (usize::try_from(rows)?, usize::try_from(COLUMNS)?);
            for (panel, area) in panels.iter().zip(area.split_evenly((rows, columns))) {
                draw(&area, panel, &lines(&prometheus, panel, start, end)?, end - start)?;
            }
            area.present().map_err(drawing)?;
        }
        fs::write(file(PICTURE), picture)?;
        Ok(())
    })
}

/// In seconds since 1970.
fn now(prometheus: &Prometheus) -> Result<f64> {
    let time = prometheus.query("vector(time())")?;
    Ok(time.first().context("no time")?.1)
}

/// Pods come, are busy, meet an outage of STS, and try what they should not.
fn run(cluster: &Cluster) -> Result<()> {
    let begun = Instant::now();
    let pod = |name: &str, namespace: &str, role: Option<&str>| {
        let pod = cluster.pod(name).namespace(namespace);
        if let Some(role) = role { pod.role(role).start() } else { pod.start() }
    };
    let mut pods = vec![
        pod("web", "shop", Some("web"))?,
        pod("batch", "shop", Some("batch"))?,
        pod("plain", "tools", None)?,
        pod("denied", "reports", Some("denied"))?,
    ];
    let mut late: Vec<Pod<'_>> = Vec::new();
    let mut is_out = false;
    while begun.elapsed() < LASTS {
        let turn = Instant::now();
        let second = begun.elapsed().as_secs();
        be_busy(&pods)?;
        if OUTAGE.contains(&second) != is_out {
            is_out = !is_out;
            let way = if is_out { Way::InternalFailure } else { Way::Normal };
            for role in ["late-0", "late-1", "late-2", "late-3"] {
                cluster.sts.behave(role, way, Duration::ZERO)?;
            }
        }
        // One comes every half minute, in the outage too.
        if second > 30 * (u64::try_from(late.len())? + 1) && late.len() < 6 {
            let role = format!("late-{}", late.len());
            late.push(pod(&role, "batch", Some(&role))?);
        }
        for pod in &late {
            pod.get(&format!("{LIST}{}", pod.name))?;
        }
        if second.is_multiple_of(7)
            && let Some(web) = pods.first()
        {
            web.is_refused("169.254.169.254:8080").ok();
            let stranger = Place { cgroup: cluster.node_place().cgroup, ..Place::clone(web) };
            stranger.udp("169.254.169.254:53", b"hello")?;
        }
        let is_over = || Ok(turn.elapsed() >= EVERY);
        wait::until_true("the next turn", is_over)?;
    }
    pods.append(&mut late);
    Ok(())
}

fn lines(prometheus: &Prometheus, panel: &Panel, start: f64, end: f64) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for target in &panel.targets {
        for (labels, points) in prometheus.range(&target.expression("15s"), (start, end), STEP)? {
            let known = points.into_iter().filter(|(_, value)| value.is_finite());
            let points: Vec<_> = known.map(|(time, value)| (time - start, value)).collect();
            lines.push((legend(&target.legend_format, &labels), points));
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(lines)
}

/// As Grafana writes it: labels stand in double braces.
fn legend(format: &str, labels: &Value) -> String {
    let mut text = format.to_owned();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        text = text.replace(&format!("{{{{{key}}}}}"), value);
    }
    if text.contains("{{") { "(nobody known)".to_owned() } else { text }
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
    lines: &[Line],
    seconds: f64,
) -> Result<()> {
    let values = || lines.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let top = values().fold(0.0_f64, f64::max) * 1.15;
    let top = if top > 0.0 { top } else { 1.0 };
    let unit = panel.field_config.defaults.unit.clone();
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .caption(&panel.title, ("sans-serif", 13))
        .x_label_area_size(18)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..seconds, 0.0..top)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_labels(5)
        .y_labels(4)
        .x_label_formatter(&|at| minutes(*at))
        .y_label_formatter(&|value| shown(*value, &unit))
        .label_style(("sans-serif", 10))
        .draw()
        .map_err(drawing)?;
    for (number, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or(BLACK);
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(1));
        let series = chart.draw_series(line).map_err(drawing)?;
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 8, y)], colour.stroke_width(2));
        series.label(name).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 9))
        .background_style(WHITE.mix(0.75))
        .legend_area_size(10)
        .margin(2)
        .draw()
        .map_err(drawing)
}

fn minutes(seconds: f64) -> String {
    let seconds = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "s" if value == 0.0 => "0".to_owned(),
        "s" if value < 0.0995 => format!("{:.1} ms", value * 1e3),
        "s" if value < 100.0 => format!("{value:.1} s"),
        "s" => format!("{:.0} min", value / 60.0),
        "bytes" => format!("{:.0} MiB", value / f64::from(1 << 20)),
        "reqps" | "cps" | "ops" | "pps" => format!("{value:.1}/s"),
        _ => format!("{value:.2}"),
    }
}

fn drawing<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("the picture cannot be drawn: {error}")
}
