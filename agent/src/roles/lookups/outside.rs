//! What is asked of the API server, and what it tells.

use tokio::sync::mpsc;

use super::Key;
use crate::roles::store::News;

/// The API server, as far as it is asked here.
pub trait Outside: Send + Sync + 'static {
    /// Tells of one object, or of the associations of a namespace, for ever.
    fn watch(
        &self,
        key: Key,
        told: mpsc::Sender<Told>,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// How associations can be watched.
    fn look(&self) -> impl Future<Output = Served> + Send + 'static;
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of what.
    pub key: Key,
    /// What.
    pub what: Result<News, Failure>,
}

/// Why a watch tells nothing. It goes on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// RBAC.
    Forbidden,
    /// There is no such resource, or it cannot be selected in this way.
    NotServed,
    /// Anything else.
    Failing(String),
}

/// How associations can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// By namespace.
    ByNamespace,
    /// All at once: an API server before 1.31, or a definition without `selectableFields`.
    Whole,
    /// There are none.
    NotInstalled,
    /// That cannot be told.
    Unknown(Failure),
}
