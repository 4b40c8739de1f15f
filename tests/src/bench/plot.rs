//! The plots of the page, as SVG.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::Part;
use super::figure::{Figure, Line, Report, Unit, count};

const SIZE: (u32, u32) = (880, 440);
const FONT: &str = "sans-serif";
/// Told apart by those who see few colours too (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How lines are drawn.
struct Axes {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    is_x_log: bool,
    is_y_log: bool,
}

/// Draws what there is to draw of a part into `directory`.
pub(super) fn draw(directory: &Path, part: Part, report: &Report) -> Result<()> {
    let drawn = match (part, axes(part)) {
        (_, Some(axes)) if !report.lines.is_empty() => {
            svg(|area| lines(area, &axes, &report.lines))?
        }
        (Part::Hooks, _) => {
            let title = "What a program takes, net of the measuring (ns)";
            svg(|area| bars(area, title, &of_unit(report, Unit::Nanoseconds)))?
        }
        (Part::Memory, _) => {
            let title = "Resident memory of the agent (KiB)";
            svg(|area| bars(area, title, &of_unit(report, Unit::Kibibytes)))?
        }
        _ => return Ok(()),
    };
    fs::write(directory.join(part.name()).with_extension("svg"), drawn)?;
    Ok(())
}

fn axes(part: Part) -> Option<Axes> {
    Some(match part {
        Part::Redirect => Axes {
            title: "A fresh connection with a request: so many batches took less",
            x: "microseconds",
            y: "% of batches",
            is_x_log: false,
            is_y_log: false,
        },
        Part::Proxy => Axes {
            title: "Latency on one processor at full load, podrole beside a bare server",
            x: "part of the requests that were quicker, in nines (1: 90 %, 2: 99 %, 3: 99.9 %)",
            y: "microseconds",
            is_x_log: false,
            is_y_log: true,
        },
        Part::First => Axes {
            title: "First instruction of a new pod to credentials: so many pods took less",
            x: "milliseconds",
            y: "% of pods",
            is_x_log: true,
            is_y_log: false,
        },
        Part::Scale => Axes {
            title: "Calls to AWS of a cluster of the largest size over a day",
            x: "hour",
            y: "calls a second, mean of 10 minutes",
            is_x_log: false,
            is_y_log: true,
        },
        Part::Hooks | Part::Memory | Part::Profile => return None,
    })
}

fn of_unit(report: &Report, unit: Unit) -> Vec<&Figure> {
    report.figures.iter().filter(|figure| figure.unit == unit).collect()
}

fn svg(draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(text.lines().map(str::trim_end).fold(String::new(), |all, line| all + line + "\n"))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the plot cannot be drawn: {error}")
}

/// What a logarithm is taken of, so that lines of either kind share one scale.
fn scaled(value: f64, is_log: bool) -> f64 {
    if is_log { value.max(1e-3).log10() } else { value }
}

fn label(value: f64, is_log: bool) -> String {
    let value = if is_log { 10_f64.powf(value) } else { value };
    if value >= 100.0 || value.fract().abs() < 1e-6 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn lines(area: &Area<'_>, axes: &Axes, lines: &[Line]) -> Result<()> {
    let points = |line: &Line| {
        let finite = line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let scaled = finite.map(|(x, y)| (scaled(*x, axes.is_x_log), scaled(*y, axes.is_y_log)));
        scaled.collect::<Vec<_>>()
    };
    let all: Vec<(f64, f64)> = lines.iter().flat_map(points).collect();
    let mut chart = ChartBuilder::on(area)
        .caption(axes.title, (FONT, 18))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(range(all.iter().map(|(x, _)| *x)), range(all.iter().map(|(_, y)| *y)))
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|value| label(*value, axes.is_x_log))
        .y_label_formatter(&|value| label(*value, axes.is_y_log))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let style = colour.stroke_width(2);
        chart
            .draw_series(LineSeries::new(points(line), style))
            .map_err(failed)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.4))
        .draw()
        .map_err(failed)
}

fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        (least, most) = (least.min(value), most.max(value));
    }
    if most > least { least..most } else { 0.0..1.0 }
}

/// One below the other, each with its number.
fn bars(area: &Area<'_>, title: &str, figures: &[&Figure]) -> Result<()> {
    let most = figures.iter().map(|figure| figure.high).fold(1.0, f64::max);
    let all = count(figures.len());
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18))
        .margin(14)
        .x_label_area_size(30)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..most * 1.1, 0.0..all)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (figure, at) in figures.iter().rev().zip(0_u32..) {
        let (below, above) = (f64::from(at) + 0.2, f64::from(at) + 0.8);
        let bar =
            Rectangle::new([(0.0, below), (figure.value.max(0.0), above)], COLOURS[0].filled());
        let middle = f64::midpoint(below, above);
        let spread =
            PathElement::new([(figure.low, middle), (figure.high, middle)], BLACK.stroke_width(2));
        chart.draw_series([bar]).map_err(failed)?;
        chart.draw_series([spread]).map_err(failed)?;
    }
    let (_, height) = area.dim_in_pixel();
    let (top, bottom) = (14 + 30, 14 + 30);
    let row = f64::from(height - top - bottom) / all;
    for (figure, at) in figures.iter().zip(0_u32..) {
        let text = format!("{}  {:.0}", figure.name, figure.value);
        let middle = f64::from(top) + row * (f64::from(at) + 0.5);
        #[expect(clippy::cast_possible_truncation, reason = "a place in the picture")]
        let place = (20, middle as i32 - 7);
        area.draw(&Text::new(text, place, (FONT, 13))).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::figure::{Machine, Size};
    use super::*;

    fn report(figures: Vec<Figure>, lines: Vec<Line>) -> Report {
        let machine = Machine::this();
        Report { part: String::new(), size: Size::Smoke, machine, figures, lines }
    }

    #[test]
    fn lines_and_bars_become_pictures_without_trailing_spaces() {
        let directory = tempfile::tempdir().unwrap();
        let line = Line { name: "a line".to_owned(), points: vec![(1.0, 2.0), (100.0, 30.0)] };
        draw(directory.path(), Part::First, &report(Vec::new(), vec![line])).unwrap();
        let figure = Figure::new("connect4", "", Unit::Nanoseconds, &[20.0, 21.0]);
        draw(directory.path(), Part::Hooks, &report(vec![figure], Vec::new())).unwrap();
        for (name, shows) in [("first.svg", "a line"), ("hooks.svg", "connect4")] {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(text.starts_with("<svg") && text.contains(shows), "{text}");
            assert!(text.lines().all(|line| line.trim_end() == line));
        }
    }
}
