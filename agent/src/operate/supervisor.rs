//! The agent's long-lived tasks, owned: one that ends by itself ends the process, with its name.

use tokio::task::{AbortHandle, JoinSet};
use tracing::error;

/// Owns the tasks.
#[derive(Debug, Default)]
pub struct Supervisor(JoinSet<&'static str>);

/// A task that should run as long as the agent ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("the task \"{0}\" ended by itself; the agent cannot go on without it")]
pub struct Ended(&'static str);

impl Supervisor {
    /// Runs a task as long as the agent.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.0.spawn(async move {
            task.await;
            name
        })
    }

    /// Waits until a task ends, which none should.
    pub async fn first_end(&mut self) -> Ended {
        match self.0.join_next().await {
            Some(Ok(name)) => Ended(name),
            Some(Err(error)) => {
                error!(%error, "a task panicked");
                Ended("that panicked")
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended.
    pub async fn all_ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}
