//! The sorts of PATCH.

use std::collections::HashSet;

use serde_json::Value;

use super::failure::Failure;
use super::resource::Resource;

/// What a patch makes of an object.
pub(super) fn apply(
    resource: &Resource,
    name: &str,
    old: &Value,
    content_type: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let unreadable =
        |error: serde_json::Error| Failure::bad_request(format!("unable to decode patch: {error}"));
    let mut new = old.clone();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_slice(body).map_err(unreadable)?;
            json_patch::patch(&mut new, &patch)
                .map_err(|error| Failure::invalid(resource, name, &error.to_string()))?;
        }
        "application/merge-patch+json" => {
            json_patch::merge(&mut new, &serde_json::from_slice(body).map_err(unreadable)?);
        }
        "application/strategic-merge-patch+json" => {
            let mut patch: Value = serde_json::from_slice(body).map_err(unreadable)?;
            merge_conditions(old, &mut patch);
            json_patch::merge(&mut new, &patch);
        }
        other => return Err(Failure::unsupported_media_type(other)),
    }
    if !new.is_object() || !new["metadata"].is_object() {
        return Err(Failure::bad_request("the patch leaves no object"));
    }
    Ok(new)
}

/// The one list that a strategic merge joins here: conditions, by their type. All else is as in a
/// merge patch (RFC 7396).
fn merge_conditions(old: &Value, patch: &mut Value) {
    let Some(conditions) = patch.pointer_mut("/status/conditions").and_then(Value::as_array_mut)
    else {
        return;
    };
    let present: HashSet<String> = conditions.iter().map(|it| it["type"].to_string()).collect();
    let old = old.pointer("/status/conditions").and_then(Value::as_array);
    for condition in old.into_iter().flatten() {
        if present.contains(&condition["type"].to_string()) {
            let same = conditions.iter_mut().find(|it| it["type"] == condition["type"]);
            let Some(change) = same else { continue };
            let mut merged = condition.clone();
            json_patch::merge(&mut merged, change);
            *change = merged;
        } else {
            conditions.push(condition.clone());
        }
    }
}
