//! Tells the programs of pods in the node's network namespace, where those are held
//! (`--host-network-pods`): as soon as a pod's cgroup is there and it is known what the pod gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::watch as channel;
use tracing::{debug, error};

use crate::callers::cgroup_path::pod_of;
use crate::callers::host_network::{HostNetwork, Mapped};
use crate::callers::pod_key::PodKey;
use crate::callers::pods::Index;
use crate::kernel::{CgroupId, HostPod, HostPods, PodDirectories};
use crate::operate::supervisor::Supervisor;
use crate::report::Chain;
use crate::roles::{Decision, Roles};

/// Keeps what the programs go by.
pub(super) struct HostPodsKeeper {
    /// What they go by.
    pub(super) told: HostPods,
    /// The pods' cgroups.
    pub(super) directories: PodDirectories,
    /// The name of the cgroup of all pods.
    pub(super) name: String,
    /// The pods.
    pub(super) index: channel::Receiver<Index>,
    /// Which of them a rule maps.
    pub(super) roles: Roles,
    /// What that means.
    pub(super) host_network: HostNetwork,
}

/// What the programs are to go by with one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// What an earlier agent said, if one did: the API server has not told of the pod.
    Earlier,
    /// Nothing: it has a network of its own, or is to be refused.
    None,
    /// This.
    Said(HostPod),
}

/// Tells of those that are known already, and then of all others.
pub(super) fn start(keeper: Option<HostPodsKeeper>, background: &mut Supervisor) {
    let Some(mut keeper) = keeper else { return };
    keeper.settle();
    background.spawn("the keeper of hostNetwork pods", keeper.run());
}

impl HostPodsKeeper {
    /// Follows cgroups, pods and rules, for ever.
    async fn run(mut self) {
        let mut index = self.index.clone();
        loop {
            self.settle();
            tokio::select! {
                () = self.directories.changed() => {}
                // The watch ends only with the process.
                _ = index.changed() => {}
            }
        }
    }

    /// Brings what the programs go by to what is known now.
    fn settle(&mut self) {
        let pods = pods(&self.name, self.directories.look());
        let told = self.told.told();
        let gone = told.keys().filter(|id| !pods.contains_key(id)).map(|id| (*id, None));
        let there = pods.iter().filter_map(|(id, pod)| match self.word(pod) {
            Word::Earlier => None,
            Word::None => Some((*id, None)),
            Word::Said(pod) => Some((*id, Some(pod))),
        });
        let changed: Vec<_> =
            there.chain(gone).filter(|(id, wanted)| told.get(id) != wanted.as_ref()).collect();
        for (id, wanted) in changed {
            debug!(cgroup = id.0, ?wanted, "a pod in the node's network namespace");
            if let Err(error) = self.told.tell(id, wanted) {
                error!(error = %Chain(&error), "the programs cannot be told of a hostNetwork pod; trying again");
            }
        }
    }

    fn word(&self, pod: &PodKey) -> Word {
        if pod.is_static() {
            return Word::Said(HostPod::Node);
        }
        let Ok(pod) = self.index.borrow().pod(pod) else { return Word::Earlier };
        if !pod.host_network {
            return Word::None;
        }
        let decision = self.roles.decide(&pod);
        self.host_network.decide(&pod, mapped(&decision)).map_or(Word::None, Word::Said)
    }
}

/// Whether a rule gives a role to that very pod.
pub(super) fn mapped(decision: &Decision) -> Mapped {
    match decision {
        Decision::Granted(_) | Decision::Refused(_) => Mapped::Yes,
        Decision::None => Mapped::No,
        Decision::NotYet(_) => Mapped::Unknown,
    }
}

/// Those of the cgroups that are pods' own, and not of something in them.
fn pods(name: &str, cgroups: BTreeMap<PathBuf, CgroupId>) -> BTreeMap<CgroupId, PodKey> {
    let is_pods_own = |path: &Path| path.parent().is_none_or(|above| pod_of(name, above).is_none());
    let own = cgroups.into_iter().filter(|(path, _)| is_pods_own(path));
    own.filter_map(|(path, id)| Some((id, pod_of(name, &path)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_cgroup_stands_for_it() {
        let uid = |digit: &str| format!("{}-0011-4abc-8def-0123456789ab", digit.repeat(8));
        let paths = [
            format!("pod{}", uid("1")),
            format!("pod{}/container", uid("1")),
            "burstable".to_owned(),
            format!("burstable/pod{}", uid("2")),
            "self-test".to_owned(),
        ];
        let cgroups = paths.into_iter().zip(1..).map(|(path, id)| (path.into(), CgroupId(id)));
        let found = pods("kubepods", cgroups.collect());
        let found: Vec<_> = found.iter().map(|(id, pod)| (id.0, pod.to_string())).collect();
        assert_eq!(found, [(1, uid("1")), (4, uid("2"))]);
    }
}
