//! What `podrole status` shows: the agent, its pods, what was counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Ready;

mod shown;

/// The answer to [`crate::operate::control::Question::Status`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// When the agent started, as in RFC 3339.
    pub started: String,
    /// When it answered this, as in RFC 3339.
    #[serde(default)]
    pub time: String,
    /// Whether it serves.
    #[serde(flatten)]
    pub ready: Ready,
    /// `--host-network-pods`
    pub host_network_pods: String,
    /// What is done with pods: `enforce`, `audit` or `off`.
    pub mode: String,
    /// Whether the programs are on the way there.
    pub changing: bool,
    /// The programs in the kernel.
    #[serde(default)]
    pub programs: Vec<ProgramStatus>,
    /// The running pods of the node that are known.
    pub pods: Vec<PodStatus>,
    /// What was counted, by the name that it has at `/metrics`; nothing that is zero.
    pub counters: BTreeMap<String, f64>,
}

/// One program in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Its name, as `bpftool` shows it.
    pub name: String,
    /// `cgroup`, `tcx`, `clsact`, or `none` where the kernel lacks the hook.
    pub hook: String,
    /// The cgroup, or the interfaces.
    pub on: Vec<String>,
    /// Whether it does its work.
    pub state: ProgramState,
}

/// Whether a program does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramState {
    /// It does.
    Attached,
    /// It refuses, since somebody else answers on the proxy's port.
    Refusing,
    /// It is not where it belongs: the agent is at it.
    NotAttached,
    /// It is on nothing, as the mode `off` has it.
    Off,
    /// The kernel has no hook for it (`--allow-missing-guards`).
    Missing,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What is decided of it.
    pub verdict: Verdict,
    /// The rule that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The role that it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Why it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it is, if it is in the node's network namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_network: Option<HostNetworkStatus>,
    /// Its session, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionStatus>,
}

/// What a pod in the node's network namespace is, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostNetworkStatus {
    /// The node: it has the real service, whatever rules say.
    Node,
    /// Held like any other pod.
    Held,
    /// Refused until it is known what it gets.
    NotYet,
}

/// What the rules say of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has a role.
    Granted,
    /// A rule applies and gives it none.
    Refused,
    /// No rule applies.
    None,
    /// What a rule needs to know is not there yet.
    NotYet,
}

/// What is held for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// `held`, `fetching`, …
    pub state: String,
    /// The id of the access key that is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// When its credentials end, as in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Whether it bears no tags, since STS refused them (`untagged-fallback`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untagged: bool,
    /// Why there are none, or why they could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
