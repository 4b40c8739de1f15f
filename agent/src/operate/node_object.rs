//! What the Node object says of podrole: the condition `podrole.dev/Ready`, and the startup taint, which
//! goes as soon as pods are served (`--startup-taint`).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::duty::Duty;
use super::readiness::Readiness;
use crate::clock::Clock;
use crate::report::Chain;

/// The type of the condition.
const CONDITION: &str = "podrole.dev/Ready";
/// Between two looks at whether the agent is ready.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the agent may take to be ready before its Node says that it is not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before what could not be written is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The longest that becomes, twice as long each time.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// For one request.
const DEADLINE: Duration = Duration::from_secs(10);

/// Writes to the Node that the agent runs on.
pub struct NodeObject {
    /// The API server.
    pub client: Client,
    /// The Node's name.
    pub name: String,
    /// The key of the taint that is removed; nothing is written at all without one.
    pub taint: Option<String>,
    /// The time of day.
    pub clock: Clock,
}

/// Why something was not written.
enum Failure {
    /// RBAC, or there is no such Node.
    Refused(String),
    /// It may be otherwise the next time.
    Passing(String),
}

impl NodeObject {
    /// Follows `readiness`, while on duty, for ever.
    pub async fn run(self, readiness: Readiness, mut duty: Duty) {
        let Some(taint) = self.taint.clone() else { return std::future::pending().await };
        let api: Api<Node> = Api::all(self.client.clone());
        let started = Instant::now();
        let (mut told, mut is_tainted) = (None::<Vec<&str>>, true);
        let mut again_after = AGAIN_AFTER;
        let mut is_failing = false;
        loop {
            sleep(LOOK_EVERY).await;
            duty.begins().await;
            let missing = readiness.missing();
            let is_ready = missing.is_empty();
            // An agent that starts is not ready for a moment: that is nobody's business.
            let is_due = is_ready || told.is_some() || started.elapsed() >= PATIENCE;
            if !is_due || told.as_ref() == Some(&missing) && !(is_ready && is_tainted) {
                continue;
            }
            let wrote = async {
                if is_ready && is_tainted {
                    self.untaint(&api, &taint).await?;
                    is_tainted = false;
                }
                self.tell(&api, &missing).await
            };
            match wrote.await {
                Ok(()) => {
                    told = Some(missing);
                    (is_failing, again_after) = (false, AGAIN_AFTER);
                }
                Err(failure) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        say(&failure, &taint, is_tainted);
                    }
                    sleep(again_after).await;
                    again_after = LONGEST_PAUSE.min(2 * again_after);
                }
            }
        }
    }

    /// Takes the taint away, if it is there. All others stay: the list is written whole, over the very
    /// version that was read.
    async fn untaint(&self, api: &Api<Node>, key: &str) -> Result<(), Failure> {
        let node = within(api.get(&self.name)).await?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let Some(left) = without(&taints, key) else { return Ok(()) };
        let version = node.metadata.resource_version;
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": left } });
        within(api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))).await?;
        info!(taint = key, "pods may be scheduled to this node: its startup taint is removed");
        Ok(())
    }

    async fn tell(&self, api: &Api<Node>, missing: &[&str]) -> Result<(), Failure> {
        let time = jiff::Timestamp::try_from(self.clock.now());
        let patch = condition(missing, time.unwrap_or(jiff::Timestamp::UNIX_EPOCH));
        let parameters = PatchParams::default();
        within(api.patch_status(&self.name, &parameters, &Patch::Strategic(patch))).await?;
        Ok(())
    }
}

/// The taints but for that of `key`; none where it is not among them.
fn without(taints: &[Taint], key: &str) -> Option<Vec<Taint>> {
    let left: Vec<_> = taints.iter().filter(|taint| taint.key != key).cloned().collect();
    (left.len() < taints.len()).then_some(left)
}

fn condition(missing: &[&str], now: jiff::Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (status, reason, message) = if missing.is_empty() {
        ("True", "PodroleReady", "podrole serves the pods of this node".to_owned())
    } else {
        ("False", "PodroleNotReady", format!("podrole waits for {}", missing.join(", ")))
    };
    json!({ "status": { "conditions": [{
        "type": CONDITION, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now, "lastHeartbeatTime": now,
    }] } })
}

fn say(failure: &Failure, taint: &str, is_tainted: bool) {
    match failure {
        Failure::Refused(error) if is_tainted => warn!(
            error,
            taint,
            "the Node does not show whether podrole is ready, and a startup taint stays on it; podrole needs the ClusterRole podrole-node, or --startup-taint='' if neither is used"
        ),
        Failure::Refused(error) => warn!(
            error,
            "the Node does not show whether podrole is ready; podrole needs the ClusterRole podrole-node, or --startup-taint='' if that is not used"
        ),
        Failure::Passing(error) => {
            warn!(error, "the Node does not show yet whether podrole is ready; trying again");
        }
    }
}

async fn within<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(DEADLINE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => {
            Err(Failure::Refused(status.message.clone()))
        }
        Ok(Err(error)) => Err(Failure::Passing(Chain(&error).to_string())),
        Err(_) => Err(Failure::Passing("the API server did not answer within 10 s".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    #[test]
    fn every_taint_of_the_key_goes_and_no_other() {
        let (own, other) = ("podrole.dev/not-ready", taint("example.org/other", "NoSchedule"));
        let taints = [taint(own, "NoSchedule"), other.clone(), taint(own, "NoExecute")];
        assert_eq!(without(&taints, own), Some(vec![other.clone()]));
        assert_eq!(without(&[other], own), None);
        assert_eq!(without(&[], own), None);
    }

    #[test]
    fn the_condition_names_what_is_missing() {
        let condition = |missing: &[&str]| {
            let condition = condition(missing, jiff::Timestamp::UNIX_EPOCH);
            condition["status"]["conditions"][0].clone()
        };
        let not_ready = condition(&["the self-test", "the eBPF programs"]);
        assert_eq!(not_ready["status"], "False");
        assert_eq!(not_ready["message"], "podrole waits for the self-test, the eBPF programs");
        assert_eq!(condition(&[])["status"], "True");
        assert_eq!(condition(&[])["type"], "podrole.dev/Ready");
        assert_eq!(condition(&[])["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
