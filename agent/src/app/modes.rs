//! Tells the programs what is done with this node's pods: of all of them, and of single ones as soon as
//! a pod's cgroup is there and it is known what holds for it.
//!
//! A pod whose cgroup is there before the watch's word has the node's mode for that instant.

mod memory;
mod plan;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::callers::cgroup_path::pod_of;
use crate::callers::host_network::{HostNetwork, Mapped};
use crate::callers::pod_key::PodKey;
use crate::callers::pods::{Index, Pod};
use crate::callers::watch::own_node::{self, Label};
use crate::kernel::{
    CgroupId, Doing, Entry, HostPod, KernelError, Modes, PodDirectories, Presence,
};
use crate::operate::readiness::{Latch, Readiness};
use crate::report::Chain;
use crate::roles::mode::MODE_LABEL;
use crate::roles::{Decision, Known, Mode, Roles};
use crate::settings::ModeSettings;

use self::memory::Memory;
use self::plan::{Plan, Wanted};

/// How long the Node's label is waited for at the start, before what an earlier agent heard holds.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// In so many steps all is said, unless the kernel does not take it.
const STEPS: usize = 4;
/// What `/readyz` calls it.
const CHANGE: &str = "the change to enforce";

/// How the modes are decided. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Modal {
    /// `--mode`
    pub(super) flag: Mode,
    /// `--audit-namespaces`
    pub(super) audited: HashSet<Box<str>>,
    /// The label of this node's Node.
    pub(super) label: channel::Receiver<Label>,
    /// The mode that the programs are in, unless they are on the way to another.
    pub(super) settled: channel::Receiver<Option<Mode>>,
    /// What depends on it beside.
    pub(super) roles: Roles,
}

impl Modal {
    /// What holds on this node.
    pub(super) fn of_node(&self) -> Mode {
        Mode::of_node(self.flag, self.label.borrow().value.as_deref()).mode
    }

    /// Whether the programs are on the way there still.
    pub(super) fn is_changing(&self) -> bool {
        *self.settled.borrow() != Some(self.of_node())
    }

    /// What holds for a pod. While its Namespace is not known, that is the node's.
    pub(super) fn of_pod(&self, pod: &Pod) -> Mode {
        self.with_doubt(self.of_node(), pod).mode
    }

    fn with_doubt(&self, node: Mode, pod: &Pod) -> crate::roles::mode::Said {
        let label = match self.roles.namespace(&pod.namespace) {
            Known::There(namespace) => namespace.mode().map(Box::<str>::from),
            Known::Absent | Known::NotYet(_) => None,
        };
        let audited = self.audited.contains(&pod.namespace);
        node.of_namespace(&pod.namespace, audited, label.as_deref())
    }
}

/// What the modes of pods depend on.
pub(super) struct Parts {
    /// The pods.
    pub(super) index: channel::Receiver<Index>,
    /// What holds.
    pub(super) modal: Modal,
    /// How pods in the node's network namespace are told apart.
    pub(super) host_network: HostNetwork,
    /// What the label said last, for the next agent.
    pub(super) memory: Memory,
    /// Tells when the programs are where they shall be.
    pub(super) settled: channel::Sender<Option<Mode>>,
}

impl Parts {
    /// By these settings, `--state-dir` and the node's name; and the watch on its Node, to be run for ever.
    pub(super) fn new(
        (settings, state_dir, node): (&ModeSettings, &Path, &str),
        client: kube::Client,
        index: channel::Receiver<Index>,
        roles: &Roles,
        host_network: HostNetwork,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let memory = Memory::load(state_dir, node);
        let (heard, label) = channel::channel(Label { value: memory.label(), is_heard: false });
        let (settled, told) = channel::channel(None);
        let modal = Modal {
            flag: settings.mode,
            audited: settings.audit_namespaces.clone(),
            label,
            settled: told,
            roles: roles.clone(),
        };
        let watch = own_node::follow(client, node.to_owned(), MODE_LABEL, heard);
        (Self { index, modal, host_network, memory, settled }, watch)
    }
}

/// Keeps what the programs go by.
pub(super) struct ModesKeeper {
    parts: Parts,
    told: Modes,
    directories: PodDirectories,
    name: String,
    wanted: channel::Sender<bool>,
    presence: channel::Receiver<Presence>,
    plan: Plan,
    said: Said,
}

/// What was said.
#[derive(Debug, Default)]
struct Said {
    node: Option<(Mode, Option<String>)>,
    doubts: BTreeSet<String>,
}

impl ModesKeeper {
    /// Keeps `told` for the pods whose cgroups are below `pods`; `wanted` says whether the programs shall be
    /// on the node, `presence` whether they are.
    ///
    /// # Errors
    /// Where the cgroups cannot be watched.
    pub(super) fn new(
        parts: Parts,
        pods: &Path,
        told: Modes,
        wanted: channel::Sender<bool>,
        presence: channel::Receiver<Presence>,
    ) -> Result<Self, KernelError> {
        let directories = PodDirectories::new(pods)?;
        let name = pods.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (plan, said) = (Plan::default(), Said::default());
        Ok(Self { parts, told, directories, name, wanted, presence, plan, said })
    }

    /// Waits for the Node's label, if it comes soon, and tells the programs what is known already. Says
    /// whether they shall be on the node.
    pub(super) async fn begin(&mut self) -> bool {
        own_node::heard(&self.parts.modal.label, HEARD_WITHIN).await;
        if !self.parts.modal.label.borrow().is_heard {
            warn!(
                mode = %self.parts.modal.of_node(),
                "the API server does not tell of this node's Node: the label that it had last, or --mode, holds until it does"
            );
        }
        self.settle();
        *self.wanted.borrow()
    }

    /// Follows cgroups, pods, rules and labels, for ever.
    pub(super) async fn run(mut self, readiness: Readiness) {
        let mut index = self.parts.index.clone();
        let mut label = self.parts.modal.label.clone();
        let mut roles = self.parts.modal.roles.clone();
        let mut presence = self.presence.clone();
        let mut changing: Option<Latch> = None;
        loop {
            self.settle();
            let again = self.plan.next();
            self.tell_settled();
            match (again, changing.take()) {
                (Some(_), latch) => {
                    changing = Some(latch.unwrap_or_else(|| readiness.register(CHANGE)));
                }
                (None, Some(latch)) => latch.done(),
                (None, None) => {}
            }
            tokio::select! {
                () = self.directories.changed() => {}
                // The watches end only with the process.
                _ = index.changed() => {}
                _ = label.changed() => {}
                _ = presence.changed() => {}
                () = roles.changed() => {}
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
    }

    fn tell_settled(&self) {
        let Some((node, _)) = self.said.node else { return };
        let shall = if node == Mode::Off { Presence::Off } else { Presence::On };
        let is_there = *self.presence.borrow() == shall && self.plan.next().is_none();
        let settled = is_there.then_some(node);
        self.parts.settled.send_if_modified(|told| std::mem::replace(told, settled) != settled);
    }

    /// Brings what the programs go by to what is known now.
    fn settle(&mut self) {
        let label = self.parts.modal.label.borrow().clone();
        if label.is_heard {
            self.parts.memory.keep(label.value.as_deref());
        }
        let node = Mode::of_node(self.parts.modal.flag, label.value.as_deref());
        self.say(node.mode, node.doubt, &label);
        let node = node.mode;
        // Before programs go they let everything go on, and so they do when they come again.
        let is_off = node == Mode::Off || *self.presence.borrow() == Presence::Off;
        let holds = if is_off { Mode::Off } else { node };
        let pods = pods(&self.name, self.directories.look());
        let mut doubts = BTreeSet::new();
        let pods = pods.iter().map(|(id, key)| (*id, self.wanted_of(holds, key, &mut doubts)));
        let pods: BTreeMap<_, _> = pods.collect();
        self.tell_doubts(doubts);
        // First what stays as it is while the node changes, then the node, then what follows it.
        for _ in 0..STEPS {
            let steps = self.plan.steps(holds, &pods, &self.told.told(), Instant::now());
            if steps.is_empty() {
                break;
            }
            for (about, entry) in steps {
                if let Err(error) = self.told.tell(about, entry) {
                    error!(error = %Chain(&error), ?about, ?entry, "the programs cannot be told of a mode; trying again");
                }
            }
        }
        let wanted = node != Mode::Off;
        self.wanted.send_if_modified(|known| std::mem::replace(known, wanted) != wanted);
    }

    /// What is to be done with one pod.
    fn wanted_of(&self, node: Mode, key: &PodKey, doubts: &mut BTreeSet<String>) -> Wanted {
        let holds = self.parts.host_network.is_held();
        let Ok(pod) = self.parts.index.borrow().pod(key) else {
            return if key.is_static() && holds {
                Wanted::Said(Entry { doing: Doing::Node, host_network: true })
            } else {
                Wanted::Earlier
            };
        };
        let said = self.parts.modal.with_doubt(node, &pod);
        doubts.extend(said.doubt);
        if !pod.host_network || !holds {
            return Wanted::Mode(said.mode);
        }
        let entry = |doing| Wanted::Said(Entry { doing, host_network: true });
        if key.is_static() {
            return entry(Doing::Node);
        }
        if said.mode != Mode::Enforce {
            return Wanted::Mode(said.mode);
        }
        let decision = self.parts.modal.roles.decide(&pod);
        match self.parts.host_network.decide(&pod, mapped(&decision)) {
            Some(HostPod::Node) => entry(Doing::Node),
            Some(HostPod::Held) => entry(Doing::Enforce),
            None => entry(Doing::Refuse),
        }
    }

    fn say(&mut self, mode: Mode, doubt: Option<String>, label: &Label) {
        let now = Some((mode, doubt));
        if self.said.node == now {
            return;
        }
        let by = if label.value.is_some() { "the Node's label" } else { "--mode" };
        info!(%mode, by, "the mode of this node");
        if let Some((_, Some(doubt))) = &now {
            error!("{doubt}");
        }
        self.said.node = now;
    }

    /// Each once, as long as it holds.
    fn tell_doubts(&mut self, doubts: BTreeSet<String>) {
        for doubt in doubts.difference(&self.said.doubts) {
            warn!("{doubt}");
        }
        self.said.doubts = doubts;
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
