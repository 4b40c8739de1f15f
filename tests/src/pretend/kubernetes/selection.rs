//! Field and label selectors.

use serde_json::Value;

use super::failure::Failure;
use super::route::Objects;
use super::schema;

/// What a list or watch is restricted to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    namespace: Option<String>,
    fields: Vec<Requirement>,
    labels: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Is { key: String, value: String },
    IsNot { key: String, value: String },
    Exists { key: String },
    IsAbsent { key: String },
}

impl Selection {
    /// Reads selectors as they stand in the query; a single object is selected by its name.
    pub(super) fn read(
        objects: &Objects,
        namespace: Option<&str>,
        name: Option<&str>,
        field_selector: &str,
        label_selector: &str,
    ) -> Result<Self, Failure> {
        let mut fields = requirements(field_selector).ok_or_else(|| unreadable(field_selector))?;
        for field in &fields {
            match field {
                Requirement::Is { key, .. } | Requirement::IsNot { key, .. }
                    if is_selectable(objects, key) => {}
                Requirement::Is { key, .. } | Requirement::IsNot { key, .. } => {
                    return Err(Failure::bad_request(format!("field label not supported: {key}")));
                }
                Requirement::Exists { .. } | Requirement::IsAbsent { .. } => {
                    return Err(unreadable(field_selector));
                }
            }
        }
        if let Some(name) = name {
            fields.push(Requirement::Is { key: "metadata.name".into(), value: name.into() });
        }
        let labels = requirements(label_selector).ok_or_else(|| unreadable(label_selector))?;
        Ok(Self { namespace: namespace.map(str::to_owned), fields, labels })
    }

    /// Whether an object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let namespace = object["metadata"]["namespace"].as_str();
        let label = |key: &str| object["metadata"]["labels"][key].as_str().map(str::to_owned);
        (self.namespace.is_none() || self.namespace.as_deref() == namespace)
            && self.fields.iter().all(|it| it.holds(|key| Some(field(object, key))))
            && self.labels.iter().all(|it| it.holds(label))
    }

    /// Whether all objects of the namespace are selected.
    pub(super) fn is_everything(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }
}

impl Requirement {
    fn read(text: &str) -> Option<Self> {
        let owned = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
        let requirement = if let Some((key, value)) = text.split_once("!=") {
            let (key, value) = owned(key, value);
            Self::IsNot { key, value }
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            let (key, value) = owned(key, value);
            Self::Is { key, value }
        } else if let Some(key) = text.strip_prefix('!') {
            Self::IsAbsent { key: key.trim().to_owned() }
        } else {
            Self::Exists { key: text.trim().to_owned() }
        };
        let key = requirement.key();
        // `in (…)` and `notin (…)` are beyond this server.
        (!key.is_empty() && !key.contains([' ', '('])).then_some(requirement)
    }

    fn key(&self) -> &str {
        match self {
            Self::Is { key, .. }
            | Self::IsNot { key, .. }
            | Self::Exists { key }
            | Self::IsAbsent { key } => key,
        }
    }

    fn holds(&self, find: impl Fn(&str) -> Option<String>) -> bool {
        let found = find(self.key());
        match self {
            Self::Is { value, .. } => found.as_ref() == Some(value),
            Self::IsNot { value, .. } => found.as_ref() != Some(value),
            Self::Exists { .. } => found.is_some(),
            Self::IsAbsent { .. } => found.is_none(),
        }
    }
}

fn requirements(selector: &str) -> Option<Vec<Requirement>> {
    selector.split(',').filter(|text| !text.trim().is_empty()).map(Requirement::read).collect()
}

fn unreadable(selector: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: {selector}"))
}

fn is_selectable(Objects { resource, definition, .. }: &Objects, key: &str) -> bool {
    let custom = definition.as_ref();
    key == "metadata.name"
        || custom.is_some_and(|definition| schema::is_selectable(definition, key))
        || (key == "metadata.namespace" && resource.namespaced)
        || resource.selectable.contains(&key)
}

/// A field as selectors see it: one that is absent is empty, or `false` where it is a yes or no.
fn field(object: &Value, path: &str) -> String {
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(value)) => value.to_string(),
        _ if matches!(path, "spec.hostNetwork" | "spec.unschedulable") => "false".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pretend::kubernetes::resource::Resource;

    fn select(fields: &str, labels: &str) -> Result<Selection, Failure> {
        let pods = Objects {
            resource: Resource::find("", "v1", "pods").unwrap(),
            namespace: None,
            name: None,
            subresource: None,
            definition: None,
        };
        Selection::read(&pods, Some("shop"), None, fields, labels)
    }

    #[test]
    fn all_requirements_must_hold() {
        let pod = json!({
            "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
            "spec": { "nodeName": "one" },
        });
        for (fields, labels, expected) in [
            ("", "", true),
            ("spec.nodeName=one", "", true),
            ("spec.nodeName==one,metadata.name!=web", "", false),
            ("spec.nodeName=one,metadata.namespace=shop", "app=web,!tier", true),
            ("spec.hostNetwork=false", "app", true),
            ("status.podIP=", "app!=db", true),
            ("", "tier", false),
        ] {
            let selection = select(fields, labels).unwrap();
            assert_eq!(selection.matches(&pod), expected, "{fields} {labels}");
        }
    }

    #[test]
    fn fields_that_the_real_server_does_not_index_are_refused() {
        let failure = select("spec.priority=1", "").unwrap_err();
        assert_eq!(failure.status()["message"], "field label not supported: spec.priority");
        assert_eq!(select("", "app in (a,b)").unwrap_err().status()["code"], 400);
    }
}
