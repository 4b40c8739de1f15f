//! Which request a path makes.

use std::sync::Arc;

use serde_json::Value;

use super::resource::Resource;

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Version,
    /// `/api`, `/apis`, or one group's version.
    Discovery(String),
    /// `SelfSubjectAccessReview`s, which are answered and not stored.
    AccessReview,
    Objects(Objects),
    Unknown,
}

/// Objects of one resource, or one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objects {
    pub(super) resource: &'static Resource,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<Subresource>,
    /// The definition of a custom resource, as the store has it.
    pub(super) definition: Option<Arc<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subresource {
    Status,
    /// `TokenRequest`s of a ServiceAccount.
    Token,
}

impl Objects {
    /// As RBAC's rules name it.
    pub(super) fn rbac_name(&self) -> String {
        let plural = self.resource.plural;
        match self.subresource {
            None => plural.to_owned(),
            Some(Subresource::Status) => format!("{plural}/status"),
            Some(Subresource::Token) => format!("{plural}/token"),
        }
    }
}

impl Route {
    /// Reads a path.
    pub(super) fn find(path: &str) -> Self {
        let path = path.trim_end_matches('/');
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Self::Health,
            ["version"] => Self::Version,
            ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => {
                Self::AccessReview
            }
            ["api" | "apis"] | ["api" | "apis", _] | ["apis", _, _] => {
                Self::Discovery(path.to_owned())
            }
            ["api", version, rest @ ..] => Self::objects("", version, rest),
            ["apis", group, version, rest @ ..] => Self::objects(group, version, rest),
            _ => Self::Unknown,
        }
    }

    fn objects(group: &str, version: &str, rest: &[&str]) -> Self {
        let found = match rest {
            // A namespace's own status, before the objects inside of it.
            ["namespaces", own @ ..] if matches!(own, [] | [_] | [_, "status"]) => {
                Some((None, "namespaces", own))
            }
            ["namespaces", namespace, plural, rest @ ..] => {
                Some((Some((*namespace).to_owned()), *plural, rest))
            }
            [plural, rest @ ..] => Some((None, *plural, rest)),
            [] => None,
        };
        let find = || {
            let (namespace, plural, rest) = found?;
            let resource = Resource::find(group, version, plural)?;
            let (name, subresource) = match rest {
                [] => (None, None),
                [name] => (Some(*name), None),
                [name, "status"] if resource.has_status => (Some(*name), Some(Subresource::Status)),
                [name, "token"] if resource.plural == "serviceaccounts" => {
                    (Some(*name), Some(Subresource::Token))
                }
                _ => return None,
            };
            // One object of a namespaced resource is found in its namespace only.
            let placed = namespace.is_some() == resource.namespaced;
            let all_namespaces = namespace.is_none() && name.is_none();
            let name = name.map(str::to_owned);
            (placed || all_namespaces).then_some(Objects {
                resource,
                namespace,
                name,
                subresource,
                definition: None,
            })
        };
        find().map_or(Self::Unknown, Self::Objects)
    }

    /// Name of the resource, if it is about one.
    pub(super) fn resource(&self) -> Option<&'static str> {
        if let Self::Objects(objects) = self { Some(objects.resource.plural) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rbac(path: &str) -> Option<(String, Option<String>, Option<String>)> {
        match Route::find(path) {
            Route::Objects(objects) => Some((objects.rbac_name(), objects.namespace, objects.name)),
            _ => None,
        }
    }

    #[test]
    fn paths_of_objects_are_understood() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(rbac("/api/v1/pods"), Some(("pods".to_owned(), None, None)));
        assert_eq!(
            rbac("/api/v1/namespaces/shop/pods/web/status"),
            Some(("pods/status".to_owned(), some("shop"), some("web")))
        );
        assert_eq!(
            rbac("/api/v1/namespaces/shop"),
            Some(("namespaces".to_owned(), None, some("shop")))
        );
        assert_eq!(
            rbac("/api/v1/namespaces/shop/status"),
            Some(("namespaces/status".to_owned(), None, some("shop")))
        );
        assert_eq!(
            rbac("/apis/podrole.dev/v1alpha1/roleassociations/a"),
            Some(("roleassociations".to_owned(), None, some("a")))
        );
    }

    #[test]
    fn paths_that_no_server_has_are_unknown() {
        for path in [
            "/api/v1/pods/web",
            "/api/v1/namespaces/shop/nodes",
            "/api/v1/namespaces/shop/secrets",
            "/apis/podrole.dev/v1/roleassociations",
            "/nothing",
        ] {
            assert_eq!(Route::find(path), Route::Unknown, "{path}");
        }
    }
}
