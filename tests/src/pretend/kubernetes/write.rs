//! Writes: create, replace, patch, delete, with the versions and errors that clients rely on.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::failure::Failure;
use super::resource::Resource;
use super::route::{Objects, Subresource};
use super::store::Store;
use super::{patch as patches, schema, validation};
use crate::pretend::random;

/// What nobody but the server writes.
const SERVERS_OWN: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "name",
    "namespace",
    "uid",
];

/// The object that a path names, or 404.
pub(super) fn existing(
    store: &Store,
    objects: &Objects,
    name: &str,
) -> Result<Arc<Value>, Failure> {
    let key = objects.resource.key(objects.namespace.as_deref(), name);
    store.get(objects.resource, &key).ok_or_else(|| Failure::not_found(objects.resource, name))
}

/// POST
pub(super) fn create(store: &mut Store, objects: &Objects, body: &[u8]) -> Result<Value, Failure> {
    let resource = objects.resource;
    let mut object = validation::object(resource, body)?;
    let namespace = target_namespace(store, objects, &object)?;
    let name = choose_name(&object["metadata"])?;
    validation::name(resource, &name)?;
    validation::content(resource, &name, &object)?;
    if let Some(definition) = &objects.definition {
        schema::shape(definition, resource, &name, &mut object)?;
    }
    if object["metadata"]["resourceVersion"].as_str().is_some_and(|it| !it.is_empty()) {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Failure::bad_request(message));
    }
    let key = resource.key(namespace.as_deref(), &name);
    if store.get(resource, &key).is_some() {
        return Err(Failure::already_exists(resource, &name));
    }
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    complete_metadata(&mut object, namespace.as_deref(), &name)?;
    default(resource, &name, &mut object);
    Ok((*store.put(resource, key, object)).clone())
}

/// The namespace of a new object, which must exist.
fn target_namespace(
    store: &Store,
    objects: &Objects,
    object: &Value,
) -> Result<Option<String>, Failure> {
    if !objects.resource.namespaced {
        return Ok(None);
    }
    let Some(namespace) = &objects.namespace else { return Err(Failure::method_not_allowed()) };
    let own = &object["metadata"]["namespace"];
    if !own.is_null() && own != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let Some(namespaces) = Resource::find("", "v1", "namespaces") else { return Ok(None) };
    match store.get(namespaces, namespace) {
        Some(_) => Ok(Some(namespace.clone())),
        None => Err(Failure::not_found(namespaces, namespace)),
    }
}

/// `name`, else `generateName` and five more letters; empty where there is neither.
fn choose_name(metadata: &Value) -> Result<String, Failure> {
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    match (text("name"), text("generateName")) {
        ("", "") => Ok(String::new()),
        ("", prefix) => {
            let ending: String = new_uid()?.chars().take(5).collect();
            Ok(format!("{prefix}{ending}"))
        }
        (name, _) => Ok(name.to_owned()),
    }
}

fn new_uid() -> Result<String, Failure> {
    random::uuid().map_err(|_| Failure::internal("no random bytes"))
}

fn complete_metadata(
    object: &mut Value,
    namespace: Option<&str>,
    name: &str,
) -> Result<(), Failure> {
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    let Some(metadata) = object["metadata"].as_object_mut() else { return Ok(()) };
    metadata.retain(|key, _| !SERVERS_OWN.contains(&key.as_str()));
    metadata.insert("name".to_owned(), json!(name));
    if let Some(namespace) = namespace {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("uid".to_owned(), json!(new_uid()?));
    metadata.insert("creationTimestamp".to_owned(), json!(now()));
    Ok(())
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Fills in what a real server would. The status of a node alone is its creator's to write.
fn default(resource: &Resource, name: &str, object: &mut Value) {
    match resource.plural {
        "pods" => {
            object["status"] = json!({ "phase": "Pending", "qosClass": "BestEffort" });
            let spec = &mut object["spec"];
            if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
                spec["serviceAccountName"] = json!("default");
            }
            spec["serviceAccount"] = spec["serviceAccountName"].clone();
            if spec["restartPolicy"].is_null() {
                spec["restartPolicy"] = json!("Always");
            }
        }
        "namespaces" => {
            object["status"] = json!({ "phase": "Active" });
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        }
        "roleassociations" => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("status");
            }
        }
        _ => {}
    }
}

/// PUT
pub(super) fn replace(
    store: &mut Store,
    objects: &Objects,
    name: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let old = existing(store, objects, name)?;
    let new = validation::object(objects.resource, body)?;
    update(store, objects, name, &old, new)
}

/// PATCH; `content_type` says of which sort.
pub(super) fn patch(
    store: &mut Store,
    objects: &Objects,
    name: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let old = existing(store, objects, name)?;
    let new = patches::apply(objects.resource, name, &old, content_type, body)?;
    update(store, objects, name, &old, new)
}

/// Stores what has become of `old`, of which a writer changes either the status or all else.
fn update(
    store: &mut Store,
    objects: &Objects,
    name: &str,
    old: &Arc<Value>,
    mut new: Value,
) -> Result<Value, Failure> {
    let resource = objects.resource;
    check_identity(resource, name, &old["metadata"], &new["metadata"])?;
    match objects.subresource {
        Some(Subresource::Token) => return Err(Failure::method_not_allowed()),
        Some(Subresource::Status) => {
            let status = new["status"].take();
            new = (**old).clone();
            new["status"] = status;
        }
        None => {
            validation::content(resource, name, &new)?;
            if let Some(definition) = &objects.definition {
                schema::shape(definition, resource, name, &mut new)?;
            }
            for key in SERVERS_OWN {
                carry_over(&old["metadata"], &mut new["metadata"], key);
            }
            carry_over(&old["metadata"], &mut new["metadata"], "resourceVersion");
            for key in ["apiVersion", "kind"] {
                carry_over(old, &mut new, key);
            }
            if resource.has_status {
                carry_over(old, &mut new, "status");
            }
        }
    }
    if new == **old {
        // A write that changes nothing makes no version and no event.
        return Ok(new);
    }
    let key = resource.key(objects.namespace.as_deref(), name);
    let is_ending = !new["metadata"]["deletionTimestamp"].is_null();
    let finalized = !has_finalizers(&new);
    let stored = store.put(resource, key.clone(), new);
    if is_ending && finalized {
        store.remove(resource, &key);
    }
    Ok((*stored).clone())
}

/// Compares what a writer believes the object to be with what it is.
fn check_identity(
    resource: &Resource,
    name: &str,
    old: &Value,
    new: &Value,
) -> Result<(), Failure> {
    let believes = |key: &str| new[key].as_str().filter(|text| !text.is_empty());
    if let Some(other) = believes("name").filter(|other| *other != name) {
        return Err(Failure::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        )));
    }
    if let Some(uid) = believes("uid").filter(|uid| old["uid"] != **uid) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old["uid"]
        );
        return Err(Failure::conflict(resource, name, &why));
    }
    if believes("resourceVersion").is_some_and(|version| old["resourceVersion"] != *version) {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        return Err(Failure::conflict(resource, name, why));
    }
    Ok(())
}

fn carry_over(old: &Value, new: &mut Value, key: &str) {
    let Some(fields) = new.as_object_mut() else { return };
    match old.get(key) {
        Some(value) => fields.insert(key.to_owned(), value.clone()),
        None => fields.remove(key),
    };
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

/// DELETE. Pods and namespaces first show that they are ending; whatever has finalizers stays until
/// they are gone. No grace period is waited for.
pub(super) fn delete(
    store: &mut Store,
    objects: &Objects,
    name: &str,
    body: &[u8],
) -> Result<Value, Failure> {
    let resource = objects.resource;
    let old = existing(store, objects, name)?;
    let options: Value = serde_json::from_slice(body).unwrap_or_default();
    check_identity(resource, name, &old["metadata"], &options["preconditions"])?;
    let key = resource.key(objects.namespace.as_deref(), name);
    let is_pod = resource.plural == "pods";
    let mut last = Arc::clone(&old);
    if is_pod || resource.plural == "namespaces" || has_finalizers(&old) {
        last = store.put(resource, key.clone(), ending(resource, &old));
    }
    if !has_finalizers(&old) {
        store.remove(resource, &key);
    }
    if is_pod || has_finalizers(&old) {
        return Ok((*last).clone());
    }
    let details = json!({ "name": name, "kind": resource.plural, "uid": old["metadata"]["uid"] });
    Ok(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    }))
}

/// The object, said to be ending.
fn ending(resource: &Resource, old: &Value) -> Value {
    let mut ending = old.clone();
    if ending["metadata"]["deletionTimestamp"].is_null() {
        ending["metadata"]["deletionTimestamp"] = json!(now());
        ending["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    }
    if resource.plural == "namespaces" {
        ending["status"]["phase"] = json!("Terminating");
    }
    ending
}
