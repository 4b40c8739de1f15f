//! What a pod reads beside its role: documents and listings of its node.

use http::StatusCode;
use tokio::time::Instant;

use crate::callers::pods::Pod;
use crate::metadata::documents;
use crate::metadata::node::Reach;
use crate::metadata::paths::NodePath;
use crate::metadata::protocol::has_iam;
use crate::metadata::response::{Answer, document, page, passed_on, unavailable};
use crate::metadata::stricter::reach;
use crate::metadata::upstream::Found;

use super::Handler;

impl Handler {
    /// A path that is the node's.
    pub(super) async fn read_node(
        &self,
        pod: &Pod,
        version: &'static str,
        path: &NodePath,
        deadline: Instant,
    ) -> Answer {
        let reach = match reach(pod, &self.roles.namespace_of(pod, deadline).await) {
            Ok(reach) => reach,
            Err(missing) => return unavailable(&missing.to_string(), self.clock.now()),
        };
        match self.node.read(&pod.uid, reach, version, path, deadline).await {
            Ok(Found::Document(document)) => passed_on(&document, self.started),
            Ok(Found::Nothing) => page(StatusCode::NOT_FOUND),
            Err(error) => unavailable(&error.to_string(), self.clock.now()),
        }
    }

    /// `meta-data/`: what the pod may read of the node, and its role, which does not wait for the node's
    /// service to answer.
    pub(super) async fn list_meta_data(
        &self,
        pod: &Pod,
        version: &'static str,
        has_role: bool,
        deadline: Instant,
    ) -> Answer {
        let reach =
            reach(pod, &self.roles.namespace_of(pod, deadline).await).unwrap_or(Reach::Nothing);
        let found = match NodePath::new(&["meta-data"]) {
            Some(path) => self.node.read(&pod.uid, reach, version, &path, deadline).await,
            None => Ok(Found::Nothing),
        };
        let of_node = match &found {
            Ok(Found::Document(document)) => &document.body[..],
            Ok(Found::Nothing) | Err(_) => &[],
        };
        document(documents::meta_data(of_node, has_role && has_iam(version)), self.started)
    }
}
