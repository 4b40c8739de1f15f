//! The dashboard as Grafana reads it: its panels and their queries.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::prometheus::file;

/// Below the root of the checkout.
pub const PATH: &str = "deploy/observability/dashboard.json";

/// The dashboard, as far as tests look at it (Grafana documentation, "Dashboard JSON model").
#[derive(Debug, Deserialize)]
pub struct Dashboard {
    /// Its panels, rows among them.
    pub panels: Vec<Panel>,
}

/// A panel.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// `timeseries`, `stat` or `row`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its queries.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How values are shown.
    #[serde(default)]
    pub field_config: FieldConfig,
}

/// A query of a panel.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The expression, with Grafana's variables.
    pub expr: String,
    /// How its series are called, with their labels in braces.
    pub legend_format: String,
}

/// How values are shown.
#[derive(Debug, Default, Deserialize)]
pub struct FieldConfig {
    /// Of all series.
    pub defaults: Defaults,
}

/// How the values of all series of a panel are shown.
#[derive(Debug, Default, Deserialize)]
pub struct Defaults {
    /// `s`, `bytes`, `reqps`, …
    #[serde(default)]
    pub unit: String,
}

impl Dashboard {
    /// The one that is shipped.
    ///
    /// # Errors
    /// Where it is not there or no dashboard.
    pub fn read() -> Result<Self> {
        let path = file(PATH);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).context(PATH)
    }

    /// Each query, with its panel.
    pub fn queries(&self) -> impl Iterator<Item = (&Panel, &Target)> {
        self.panels.iter().flat_map(|panel| panel.targets.iter().map(move |target| (panel, target)))
    }
}

impl Target {
    /// The expression as Grafana sends it for all agents, with rates over `interval`.
    #[must_use]
    pub fn expression(&self, interval: &str) -> String {
        self.expr.replace("$instance", ".*").replace("$__rate_interval", interval)
    }
}
