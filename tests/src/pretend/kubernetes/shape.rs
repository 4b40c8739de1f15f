//! How much of an object is sent: all of it, or its metadata.

use serde_json::{Value, json};

use super::resource::Resource;

/// The shape asked for by `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// `application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1`, or `…List`.
    Metadata,
}

impl Shape {
    /// The first shape that the header names and this server has.
    pub(super) fn asked(accept: &str) -> Self {
        let known = |media: &str| {
            let mut parameters = media.split(';').map(str::trim);
            let as_what = parameters.find_map(|parameter| parameter.strip_prefix("as="));
            match as_what {
                None => Some(Self::Whole),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
                Some(_) => None,
            }
        };
        accept.split(',').find_map(known).unwrap_or(Self::Whole)
    }

    fn api(self, resource: &Resource) -> (String, &'static str) {
        match self {
            Self::Whole => (resource.api_version(), resource.kind),
            Self::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
        }
    }

    /// An object by itself.
    pub(super) fn one(self, resource: &Resource, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => self.empty(resource, &object["metadata"]),
        }
    }

    /// An object of a list: kinds that are built in don't repeat what they are.
    fn item(self, resource: &Resource, object: &Value) -> Value {
        let mut item = self.one(resource, object);
        let built_in = !resource.group.contains("podrole");
        if let (Self::Whole, true, Some(fields)) = (self, built_in, item.as_object_mut()) {
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        item
    }

    /// A list.
    pub(super) fn list<'a>(
        self,
        resource: &Resource,
        metadata: &Value,
        objects: impl Iterator<Item = &'a Value>,
    ) -> Value {
        let (api_version, kind) = self.api(resource);
        json!({
            "kind": format!("{kind}List"),
            "apiVersion": api_version,
            "metadata": metadata,
            "items": objects.map(|object| self.item(resource, object)).collect::<Vec<_>>(),
        })
    }

    /// An object with nothing but metadata: what bookmarks are, too.
    pub(super) fn empty(self, resource: &Resource, metadata: &Value) -> Value {
        let (api_version, kind) = self.api(resource);
        json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_shape_of_accept_counts() {
        let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(Shape::asked(metadata), Shape::Metadata);
        assert_eq!(Shape::asked("application/json"), Shape::Whole);
        assert_eq!(Shape::asked(""), Shape::Whole);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(Shape::asked(table), Shape::Whole);
    }
}
