//! The chart, the kustomization and the policies in them, as helm, kubectl, Kubernetes' schemas and CEL
//! take them; and that they fit the agent: its flags, its rights.

use anyhow::{Context as _, Result};
use serde_json::Value;

mod definition;
mod pages;
mod policies;
mod rendered;
mod rights;
mod values;

fn text<'v>(value: &'v Value, at: &str) -> Result<&'v str> {
    value.pointer(at).and_then(Value::as_str).with_context(|| format!("no {at} in {value}"))
}

fn list(value: &Value, at: &str) -> Vec<Value> {
    value.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default()
}
