//! Which of podrole's programs stopped something: each counts what it does.

use std::fmt;

use anyhow::{Context as _, Result};
use podrole_tests::cluster::Cluster;
use podrole_tests::curl;

const METRICS: &str = "http://10.0.0.10:16926/metrics";

/// A part of podrole that stops what would leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// connect4 and connect6, to the proxy.
    Redirect,
    /// connect4 and connect6, refusing.
    Connect,
    /// sendmsg4 and sendmsg6.
    Datagram,
    /// `cgroup_skb/egress`
    Packet,
    /// `tcx/egress` on the node's uplinks.
    Forward,
}

/// How often each guard has stopped something.
#[derive(Clone, Copy)]
pub(crate) struct Counts([u64; Guard::ALL.len()]);

impl Guard {
    const ALL: [Self; 5] =
        [Self::Redirect, Self::Connect, Self::Datagram, Self::Packet, Self::Forward];

    const fn metric(self) -> &'static str {
        match self {
            Self::Redirect => "podrole_redirects_total",
            Self::Connect => "podrole_refusals_total{reason=\"connect\"}",
            Self::Datagram => "podrole_refusals_total{reason=\"datagram\"}",
            Self::Packet => "podrole_refusals_total{reason=\"packet\"}",
            Self::Forward => "podrole_refusals_total{reason=\"forward\"}",
        }
    }
}

impl Counts {
    /// As the agent shows them now.
    pub(crate) fn read(cluster: &Cluster) -> Result<Self> {
        let node = cluster.node_place();
        let text = curl::request(&node, "GET", METRICS, &[], "")?.ok()?;
        let mut counts = [0; Guard::ALL.len()];
        for (count, guard) in counts.iter_mut().zip(Guard::ALL) {
            let line = text.lines().find_map(|line| line.strip_prefix(guard.metric()));
            let value = line.with_context(|| format!("no {} in the metrics", guard.metric()))?;
            *count = value.trim().parse()?;
        }
        Ok(Self(counts))
    }

    /// Those that have stopped something since.
    pub(crate) fn moved_since(&self, before: &Self) -> Vec<Guard> {
        let counts = self.0.iter().zip(&before.0).zip(Guard::ALL);
        counts.filter(|((now, before), _)| now > before).map(|(_, guard)| guard).collect()
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redirect => "connect (redirect)",
            Self::Connect => "connect (refusal)",
            Self::Datagram => "sendmsg",
            Self::Packet => "cgroup_skb/egress",
            Self::Forward => "tcx/egress",
        })
    }
}
