//! What is demanded of an object before it is stored.

use serde_json::Value;

use super::failure::Failure;
use super::resource::Resource;

/// Reads an object from a body and sees that it is of this kind.
pub(super) fn object(resource: &Resource, body: &[u8]) -> Result<Value, Failure> {
    let object: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("unable to decode: {error}")))?;
    if !object.is_object() || !(object["metadata"].is_object() || object["metadata"].is_null()) {
        return Err(Failure::bad_request("unable to decode: not an object with metadata"));
    }
    let (api_version, kind) = (resource.api_version(), resource.kind);
    let is = |key: &str, expected: &str| object[key].is_null() || object[key] == *expected;
    if !is("apiVersion", &api_version) || !is("kind", kind) {
        let (sent_version, sent_kind) = (&object["apiVersion"], &object["kind"]);
        return Err(Failure::bad_request(format!(
            "{sent_kind} in version {sent_version} cannot be handled as a {kind} in {api_version}"
        )));
    }
    Ok(object)
}

/// Checks a name ("Object Names and IDs").
pub(super) fn name(resource: &Resource, name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        let why = "metadata.name: Required value: name or generateName is required";
        return Err(Failure::invalid(resource, name, why));
    }
    let is_namespace = resource.plural == "namespaces";
    let longest = if is_namespace { 63 } else { 253 };
    let is_label = |label: &str| {
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(letters)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = if is_namespace { is_label(name) } else { name.split('.').all(is_label) };
    if good && name.len() <= longest {
        return Ok(());
    }
    let what = if is_namespace { "label" } else { "subdomain" };
    let why = format!(
        "metadata.name: Invalid value: \"{name}\": a lowercase RFC 1123 {what} must consist of \
         lower case alphanumeric characters or '-', and must start and end with an alphanumeric \
         character"
    );
    Err(Failure::invalid(resource, name, &why))
}

/// Checks what else a kind demands.
pub(super) fn content(resource: &Resource, name: &str, object: &Value) -> Result<(), Failure> {
    if resource.plural != "pods" {
        return Ok(());
    }
    let containers = object["spec"]["containers"].as_array();
    if containers.is_none_or(Vec::is_empty) {
        return Err(Failure::invalid(resource, name, "spec.containers: Required value"));
    }
    Ok(())
}
