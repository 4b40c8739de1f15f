//! Custom resources as their definition says: whether they are served, which fields can be selected, and
//! the schema (without CEL) that objects are held to and shaped by.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::failure::Failure;
use super::resource::Resource;
use super::store::Store;

/// The definition of a custom resource, if it is one and is installed.
pub(super) fn definition(
    store: &Store,
    resource: &Resource,
) -> Result<Option<Arc<Value>>, Failure> {
    if resource.group != "podrole.dev" {
        return Ok(None);
    }
    let all = Resource::find("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let found = all.and_then(|all| store.get(all, &resource.qualified()));
    found.map(Some).ok_or_else(Failure::no_such_path)
}

/// The one version of a definition.
fn version(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]
}

/// Whether a field can be selected by.
pub(super) fn is_selectable(definition: &Value, key: &str) -> bool {
    let fields = version(definition)["selectableFields"].as_array();
    let path = format!(".{key}");
    fields.into_iter().flatten().any(|field| field["jsonPath"] == *path)
}

/// Fills in defaults, takes away what the schema does not know, and checks the rest.
pub(super) fn shape(
    definition: &Value,
    resource: &Resource,
    name: &str,
    object: &mut Value,
) -> Result<(), Failure> {
    let schema = &version(definition)["schema"]["openAPIV3Schema"]["properties"]["spec"];
    prune(schema, &mut object["spec"]);
    check(schema, &object["spec"], "spec").map_err(|why| Failure::invalid(resource, name, &why))
}

fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields),
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item)),
        _ => {}
    }
}

fn prune_fields(schema: &Value, fields: &mut Map<String, Value>) {
    let Some(known) = schema["properties"].as_object() else { return };
    fields.retain(|key, value| known.contains_key(key) && !value.is_null());
    for (key, schema) in known {
        if let Some(default) = schema.get("default") {
            fields.entry(key).or_insert_with(|| default.clone());
        }
        if let Some(value) = fields.get_mut(key) {
            prune(schema, value);
        }
    }
}

fn check(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        _ => true,
    };
    if !fits {
        return Err(format!("{path}: Invalid value: must be of type {}", schema["type"]));
    }
    let allowed = schema["enum"].as_array();
    if allowed.is_some_and(|allowed| !allowed.contains(value)) {
        return Err(format!("{path}: Unsupported value: {value}"));
    }
    check_size(schema, value).map_err(|why| format!("{path}: Invalid value: {why}"))?;
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            return Err(format!("{path}.{key}: Required value"));
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        check(&schema["properties"][key], value, &format!("{path}.{key}"))?;
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], value, &format!("{path}[{index}]"))?;
    }
    Ok(())
}

/// Lengths and ranges.
fn check_size(schema: &Value, value: &Value) -> Result<(), String> {
    let size = match value {
        Value::String(text) => i64::try_from(text.chars().count()).ok(),
        Value::Array(items) => i64::try_from(items.len()).ok(),
        other => other.as_i64(),
    };
    let Some(size) = size else { return Ok(()) };
    let bound = |keys: [&str; 3]| keys.iter().find_map(|key| schema[*key].as_f64());
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let size = size as f64;
    if bound(["minLength", "minItems", "minimum"]).is_some_and(|least| size < least) {
        return Err("too small or too short".to_owned());
    }
    if bound(["maxLength", "maxItems", "maximum"]).is_some_and(|most| size > most) {
        return Err("too large or too long".to_owned());
    }
    Ok(())
}
