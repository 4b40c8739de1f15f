//! Asks the watch for what the API server knows now, without waiting for it to tell by itself.

use std::sync::Arc;

use tokio::sync::Notify;

/// The wish for a list of this node's pods; all who have it at the same time share one list.
#[derive(Clone, Debug, Default)]
pub struct Fresh(Arc<Notify>);

impl Fresh {
    /// Asks for a list.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Waits until one is asked for.
    pub(super) async fn asked(&self) {
        self.0.notified().await;
    }
}
