//! The questions that operators' commands ask the agent of this node, and how they travel: over a unix
//! socket that root alone can open, one line of JSON each way.

pub mod client;
pub mod server;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The longest question, in bytes: two of Kubernetes' names and some words.
const QUESTION_MAX: u64 = 4 * 1024;
/// The longest answer, in bytes: that of a node full of pods, and much to spare.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// For one question and its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Whether the agent serves, or what is missing.
    Ready,
    /// What there is on this node.
    Status,
    /// What enforce would change for the workloads of this node.
    Report {
        /// Whether roles that AWS refused are to be tried once more.
        again: bool,
    },
    /// Which role a pod has, and why.
    Explain {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        name: String,
    },
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reply {
    /// The answer, in the form that the question has.
    Answer(Value),
    /// Why there is none.
    Failed(String),
}

/// Whoever knows the answers.
pub trait Answers: Send + Sync + 'static {
    /// Answers one question, or says why not. What it gives is dropped where it takes too long.
    fn answer(&self, question: Question) -> impl Future<Output = Result<Value, String>> + Send;
}

#[cfg(test)]
mod tests;
