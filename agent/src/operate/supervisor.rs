//! The agent's long-lived tasks, owned: one that ends by itself ends the process, with its name.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::task::JoinSet;

/// Owns the tasks.
#[derive(Debug, Default)]
pub struct Supervisor(JoinSet<Ended>);

/// A task that should run as long as the agent ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("the task \"{task}\" {how}; the agent cannot go on without it")]
pub struct Ended {
    task: &'static str,
    how: &'static str,
}

impl Supervisor {
    /// Runs a task as long as the agent.
    pub fn spawn(&mut self, task: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            let how = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(()) => "ended by itself",
                // What it said is in the log, by the hook.
                Err(_) => "panicked",
            };
            Ended { task, how }
        });
    }

    /// Waits until a task ends, which none should.
    pub async fn first_end(&mut self) -> Ended {
        match self.0.join_next().await {
            Some(Ok(ended)) => ended,
            // Nobody aborts them.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }

    /// Waits until all have ended.
    pub async fn all_ended(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_told_by_its_name() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("for ever", std::future::pending());
        supervisor.spawn("short", async {});
        let ended = supervisor.first_end().await.to_string();
        assert_eq!(ended, "the task \"short\" ended by itself; the agent cannot go on without it");
        supervisor.spawn("unlucky", async { panic!("as the test wants it") });
        let ended = supervisor.first_end().await.to_string();
        assert_eq!(ended, "the task \"unlucky\" panicked; the agent cannot go on without it");
    }
}
