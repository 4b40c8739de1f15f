//! Counts what came of telling whose a connection is.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Labels;

/// What came of telling whose a connection is, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identified {
    /// A pod, by its own address too.
    Pod,
    /// A pod by the kernel's word; its source address is no pod's.
    OtherAddress,
    /// Refused: a pod by the kernel's word, with another pod's address.
    Spoofed,
    /// The API server has not told of the pod in time.
    Unknown,
    /// More than one pod claims to be the one.
    Ambiguous,
    /// The node, or a pod in its network namespace.
    Node,
    /// Refused: the kernel did not see it leave a pod's own socket.
    Unseen,
    /// Refused: a socket of a cgroup that is no running pod's.
    NoPod,
    /// A connection whose source address its own pod has rewritten.
    Rewritten,
}

impl Identified {
    const ALL: [Self; 9] = [
        Self::Pod,
        Self::OtherAddress,
        Self::Spoofed,
        Self::Unknown,
        Self::Ambiguous,
        Self::Node,
        Self::Unseen,
        Self::NoPod,
        Self::Rewritten,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::OtherAddress => "other_address",
            Self::Spoofed => "spoofed",
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
            Self::Node => "node",
            Self::Unseen => "unseen",
            Self::NoPod => "no_pod",
            Self::Rewritten => "rewritten",
        }
    }
}

/// Counts them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identities {
    pub(super) family: Family<Labels<1>, Counter>,
    told: Arc<[Counter; Identified::ALL.len()]>,
}

impl Default for Identities {
    fn default() -> Self {
        let family = Family::<Labels<1>, Counter>::default();
        let told = Identified::ALL
            .map(|identity| family.get_or_create_owned(&[("identity", identity.label())]));
        Self { family, told: Arc::new(told) }
    }
}

impl Identities {
    /// Counts one.
    pub fn count(&self, identity: Identified) {
        self.told.get(identity as usize).map(Counter::inc);
    }

    /// How often this was counted.
    #[cfg(test)]
    pub(crate) fn of(&self, identity: Identified) -> u64 {
        self.told[identity as usize].get()
    }
}
