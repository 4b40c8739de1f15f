//! What a client may ask the server about itself.

use serde_json::{Value, json};

use super::failure::Failure;
use super::resource::{RESOURCES, Resource};

/// `/version`
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": "v1.33.0-pretend",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-11-01T08:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// `/api`, `/apis`, `/apis/GROUP` and the resources of one version.
pub(super) fn document(path: &str) -> Result<Value, Failure> {
    let groups = || {
        let mut groups: Vec<&Resource> =
            RESOURCES.iter().filter(|resource| !resource.group.is_empty()).collect();
        groups.dedup_by_key(|resource| resource.group);
        groups.into_iter()
    };
    match path {
        "/api" => Ok(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        "/apis" => Ok(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups().map(group).collect::<Vec<_>>(),
        })),
        _ => {
            let name = path.trim_start_matches("/apis/").trim_start_matches("/api/");
            if let Some(resource) = groups().find(|resource| resource.group == name) {
                return Ok(group(resource));
            }
            let found: Vec<&Resource> =
                RESOURCES.iter().filter(|resource| resource.api_version() == name).collect();
            if found.is_empty() {
                return Err(Failure::no_such_path());
            }
            Ok(json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": name,
                "resources": found.into_iter().flat_map(entries).collect::<Vec<_>>(),
            }))
        }
    }
}

fn group(resource: &Resource) -> Value {
    let version = json!({ "groupVersion": resource.api_version(), "version": resource.version });
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": resource.group,
        "versions": [version],
        "preferredVersion": version,
    })
}

fn entries(resource: &Resource) -> Vec<Value> {
    let entry = |name: String, verbs: &[&str]| {
        json!({
            "name": name,
            "singularName": resource.kind.to_lowercase(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs,
        })
    };
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let mut entries = vec![entry(resource.plural.to_owned(), &verbs)];
    if resource.has_status {
        entries.push(entry(format!("{}/status", resource.plural), &["get", "patch", "update"]));
    }
    entries
}
