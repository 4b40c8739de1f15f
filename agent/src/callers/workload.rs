//! What a pod is one of: by its owner and by what controllers write into the names of what they own, so
//! that nobody needs a right to read those objects. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Deployment, a `DaemonSet`, …; a pod that nothing owns is its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// The labels by which the pods of a `ReplicaSet` tell its hash, with the owner of the `ReplicaSet` (Kubernetes
/// documentation, "Well-Known Labels"; Argo Rollouts).
const HASHES: [(&str, &str); 2] =
    [("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")];
/// A `CronJob` names its Jobs by the minute that they are of (Kubernetes, `pkg/controller/cronjob`).
const MINUTE_DIGITS: usize = 8;

impl Workload {
    /// Of the pod `name`, whose controller is `owner` (kind and name); `label` tells its labels.
    #[must_use]
    pub fn of<'a>(
        name: &str,
        owner: Option<(&str, &str)>,
        label: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let new = |kind: &str, name: &str| Self { kind: kind.into(), name: name.into() };
        match owner {
            Some(("ReplicaSet", set)) => {
                let above = HASHES.iter().find_map(|(key, kind)| {
                    let name = set.strip_suffix(label(key)?)?.strip_suffix('-')?;
                    Some(new(kind, name))
                });
                above.unwrap_or_else(|| new("ReplicaSet", set))
            }
            Some(("Job", job)) => {
                of_cron(job).map_or_else(|| new("Job", job), |cron| new("CronJob", cron))
            }
            // The mirror of a static pod.
            Some(("Node", _)) | None => new("Pod", name),
            Some((kind, owner)) => new(kind, owner),
        }
    }
}

fn of_cron(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    (minute.len() >= MINUTE_DIGITS && minute.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some(name)
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_tell_what_a_pod_is_one_of() {
        for (owner, labels, expected) in [
            (None, "", "Pod/web-0"),
            (Some(("ReplicaSet", "web-5d9c7b")), "pod-template-hash", "Deployment/web"),
            (Some(("ReplicaSet", "web-5d9c7b")), "", "ReplicaSet/web-5d9c7b"),
            (Some(("ReplicaSet", "web-5d9c7b")), "rollouts-pod-template-hash", "Rollout/web"),
            (Some(("ReplicaSet", "other")), "pod-template-hash", "ReplicaSet/other"),
            (Some(("StatefulSet", "db")), "", "StatefulSet/db"),
            (Some(("DaemonSet", "logs")), "", "DaemonSet/logs"),
            (Some(("Job", "nightly-29400120")), "", "CronJob/nightly"),
            (Some(("Job", "import-2")), "", "Job/import-2"),
            (Some(("Node", "node-1")), "", "Pod/web-0"),
        ] {
            let label = |key: &str| (key == labels).then_some("5d9c7b");
            assert_eq!(Workload::of("web-0", owner, label).to_string(), expected);
        }
    }
}
