//! What pods read of the node they run on: of the real metadata service what the list allows, or off
//! EC2 what Kubernetes knows.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::callers::pods::PodUid;
use crate::callers::watch::location::Location;

use super::paths::{AllowList, NodePath, Permit, Slash};
use super::upstream::{Document, Found, Unavailable, Upstream};

#[cfg(test)]
mod tests;

/// The node's own metadata.
#[derive(Clone, Debug)]
pub struct NodeMetadata {
    /// What pods may read.
    pub paths: Arc<AllowList>,
    /// Who knows it.
    pub source: NodeSource,
}

/// Who knows the node's metadata.
#[derive(Clone, Debug)]
pub enum NodeSource {
    /// The real service.
    Service(Upstream),
    /// The labels of the Node object, once they are read: its region and zone, and no more.
    Labels(channel::Receiver<Option<Location>>),
}

/// How far a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A pod: what the list allows.
    Listed,
    /// Nothing but its role.
    Nothing,
    /// As the node, in all but the role.
    Everything,
}

impl NodeMetadata {
    /// Whether pods may read what is at this path, written as in `meta-data/placement/region`.
    #[must_use]
    pub fn is_for_pods(&self, path: &str) -> bool {
        let segments: Vec<_> = path.split('/').collect();
        NodePath::new(&segments).is_some_and(|path| self.paths.permit(&path).is_some())
    }

    /// A document or a listing of the node's.
    pub(crate) async fn read(
        &self,
        pod: &PodUid,
        reach: Reach,
        version: &'static str,
        path: &NodePath,
        deadline: Instant,
    ) -> Result<Found, Unavailable> {
        let permit = match reach {
            Reach::Listed => self.paths.permit(path),
            Reach::Everything => Some(Permit::as_node(path.clone())),
            Reach::Nothing => None,
        };
        let Some(permit) = permit else { return Ok(Found::Nothing) };
        let is_listing = permit.slash == Slash::Always;
        let found = match &self.source {
            NodeSource::Service(upstream) => {
                upstream.get(pod.clone(), version, permit, deadline).await?
            }
            NodeSource::Labels(location) => of_labels(location, path.as_str(), deadline).await?,
        };
        match found {
            Found::Document(document) if is_listing => Ok(self.trim(path, &document)),
            found => Ok(found),
        }
    }

    /// The listing without what may not be read.
    fn trim(&self, directory: &NodePath, listing: &Document) -> Found {
        let text = String::from_utf8_lossy(&listing.body);
        let seen = text.lines().filter(|line| self.paths.shows(directory.as_str(), line));
        let seen = seen.collect::<Vec<_>>().join("\n");
        if seen.is_empty() {
            return Found::Nothing;
        }
        Found::Document(Arc::new(Document {
            body: Bytes::from(seen),
            content_type: listing.content_type.clone(),
            last_modified: listing.last_modified.clone(),
        }))
    }
}

/// What the Node's labels say, in the places where EC2 has it.
async fn of_labels(
    location: &channel::Receiver<Option<Location>>,
    path: &str,
    deadline: Instant,
) -> Result<Found, Unavailable> {
    let mut location = location.clone();
    let known = location.wait_for(Option::is_some);
    let known = tokio::time::timeout_at(deadline, known).await;
    let known = known.map_err(|_| Unavailable::NotYet)?.map_err(|_| Unavailable::Failing)?;
    let Some(Location { region, zone }) = &*known else { return Err(Unavailable::NotYet) };
    let body = match path {
        "meta-data" => (region.is_some() || zone.is_some()).then(|| "placement/".to_owned()),
        "meta-data/placement" => {
            let names =
                [zone.as_ref().map(|_| "availability-zone"), region.as_ref().map(|_| "region")];
            Some(names.into_iter().flatten().collect::<Vec<_>>().join("\n"))
        }
        "meta-data/placement/availability-zone" => zone.as_deref().map(str::to_owned),
        "meta-data/placement/region" => region.as_deref().map(str::to_owned),
        _ => None,
    };
    Ok(match body.filter(|body| !body.is_empty()) {
        Some(body) => Found::Document(Arc::new(Document {
            body: Bytes::from(body),
            content_type: None,
            last_modified: None,
        })),
        None => Found::Nothing,
    })
}
