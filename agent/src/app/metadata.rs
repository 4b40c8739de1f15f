//! Who knows what pods read of their node: the real metadata service, or off EC2 the Node object.

use std::sync::Arc;

use tokio::sync::watch as channel;

use crate::callers::watch::location;
use crate::metadata::{Client, Limits, NodeMetadata, NodeSource, Upstream};
use crate::operate::metrics::Metrics;
use crate::settings::MetadataSettings;

use super::Task;

/// What pods read of the node, and the task that keeps it, to be run for ever.
pub(super) fn connect(
    settings: &MetadataSettings,
    kubernetes: &kube::Client,
    node_name: &str,
    metrics: &Metrics,
) -> (NodeMetadata, Task) {
    let paths = Arc::new(settings.paths.clone());
    if let Some(endpoint) = settings.endpoint.clone() {
        let (asked, oldest) = (metrics.upstream.clone(), metrics.upstream_oldest.clone());
        let (upstream, task) = Upstream::new(Client::new(endpoint), asked, oldest);
        return (NodeMetadata { paths, source: NodeSource::Service(upstream) }, Box::pin(task));
    }
    let (writer, location) = channel::channel(None);
    let follow = location::follow(kubernetes.clone(), node_name.to_owned(), writer);
    (NodeMetadata { paths, source: NodeSource::Labels(location) }, Box::pin(follow))
}

/// How much one pod may ask.
pub(super) fn limits(settings: &MetadataSettings, metrics: &Metrics) -> Limits {
    Limits::new(settings.pod_connections, settings.pod_rps, metrics.limited.clone())
}
