//! How a pod is named in audit lines and in Events.

use crate::operate::audit::Subject;
use crate::operate::events::{Kind, Object};

use super::pods::Pod;

impl Pod {
    /// In audit lines.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            namespace: &self.namespace,
            name: &self.name,
            uid: self.uid.as_str(),
            service_account: &self.service_account,
        }
    }

    /// In Events.
    #[must_use]
    pub fn object(&self) -> Object {
        Object {
            kind: Kind::Pod,
            namespace: Some(self.namespace.clone()),
            name: self.name.clone(),
            uid: self.uid.as_str().into(),
        }
    }
}
