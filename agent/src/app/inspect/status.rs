//! What `podrole status` shows: the agent, its pods, what was counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::text::{Paint, table};
use super::{Ready, Show};

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
    /// Whether it serves.
    #[serde(flatten)]
    pub ready: Ready,
    /// `--host-network-pods`
    pub host_network_pods: String,
    /// What is done with pods: `enforce`, `audit` or `off`.
    pub mode: String,
    /// Whether the programs are on the way there.
    pub changing: bool,
    /// The running pods of the node that are known.
    pub pods: Vec<PodStatus>,
    /// What was counted, by the name that it has at `/metrics`; nothing that is zero.
    pub counters: BTreeMap<String, f64>,
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

impl Show for Status {
    fn show(&self, paint: Paint) -> String {
        let Self {
            version,
            node,
            started,
            ready,
            host_network_pods,
            mode,
            changing,
            pods,
            counters,
        } = self;
        let changing = if *changing { " (changing)" } else { "" };
        let mut text = format!(
            "podrole {version} on {node} since {started}: {}, mode {mode}{changing}\n",
            paint.verdict(ready)
        );
        let count = |verdict| pods.iter().filter(|pod| pod.verdict == verdict).count();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} pods: {} with a role, {} refused, {} not known yet, {} that nothing maps\n",
            pods.len(),
            count(Verdict::Granted),
            count(Verdict::Refused),
            count(Verdict::NotYet),
            count(Verdict::None),
        );
        let of_host = pods.iter().filter(|pod| pod.host_network.is_some()).count();
        if of_host > 0 {
            let _ = writeln!(
                text,
                "{of_host} of them in the node's network (--host-network-pods={host_network_pods})\n"
            );
        }
        let told =
            pods.iter().filter(|pod| pod.verdict != Verdict::None || pod.host_network.is_some());
        let rows: Vec<_> = told.map(PodStatus::row).collect();
        if !rows.is_empty() {
            text += &table(["POD", "RULE", "ROLE", "SESSION"], rows);
            text.push('\n');
        }
        let rows = counters.iter().map(|(name, value)| [name.clone(), value.to_string()]);
        text + &table(["COUNTED", ""], rows.collect())
    }
}

impl PodStatus {
    fn row(&self) -> [String; 4] {
        let dash = || "-".to_owned();
        let pod = format!("{}/{}", self.namespace, self.name);
        match self.host_network {
            Some(HostNetworkStatus::Node) => {
                return [pod, "hostNetwork".to_owned(), "the node's own".to_owned(), dash()];
            }
            Some(HostNetworkStatus::NotYet) => {
                let wait = "refused until it is known what it gets".to_owned();
                return [pod, "hostNetwork".to_owned(), dash(), wait];
            }
            Some(HostNetworkStatus::Held) | None => {}
        }
        let session = match (self.verdict, &self.session, &self.reason) {
            (Verdict::Granted, Some(session), _) => session.to_string(),
            (Verdict::Granted, None, _) => "not asked for yet".to_owned(),
            (_, _, Some(reason)) => reason.clone(),
            (_, _, None) => dash(),
        };
        [
            pod,
            self.rule.clone().unwrap_or_else(dash),
            self.role.clone().unwrap_or_else(dash),
            session,
        ]
    }
}

impl std::fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.state)?;
        if let Some(expires) = &self.expires {
            write!(f, " until {expires}")?;
        }
        if self.untagged {
            f.write_str(", without tags (untagged-fallback)")?;
        }
        self.error.iter().try_for_each(|error| write!(f, ": {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, verdict: Verdict) -> PodStatus {
        PodStatus {
            namespace: "shop".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            verdict,
            rule: Some("pod annotation".into()),
            role: None,
            reason: None,
            host_network: None,
            session: None,
        }
    }

    fn status() -> Status {
        let held = SessionStatus {
            state: "held".into(),
            access_key_id: Some("ASIAEXAMPLE".into()),
            expires: Some("2026-11-22T13:00:00Z".into()),
            untagged: true,
            error: None,
        };
        let granted = PodStatus {
            role: Some("arn:aws:iam::123456789012:role/cart".into()),
            session: Some(held),
            ..pod("cart-0", Verdict::Granted)
        };
        let reason = Some("annotation iam.amazonaws.com/role=\"\" of the pod is refused".into());
        let refused = PodStatus { reason, ..pod("web-0", Verdict::Refused) };
        let host_network = Some(HostNetworkStatus::Node);
        let host = PodStatus { host_network, ..pod("proxy", Verdict::None) };
        Status {
            version: "0.1.0".into(),
            node: "node-1".into(),
            started: "2026-11-22T12:00:00Z".into(),
            ready: Ready { ready: false, missing: vec!["the self-test".into()] },
            host_network_pods: "mapped".into(),
            mode: "enforce".into(),
            changing: false,
            pods: vec![granted, refused, pod("plain", Verdict::None), host],
            counters: [("podrole_redirects_total".to_owned(), 12.0)].into(),
        }
    }

    #[test]
    fn it_fits_a_terminal_and_leaves_out_what_nothing_maps() {
        let text = status().show(Paint::none());
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert!(text.contains("not ready: the self-test"), "{text}");
        assert!(text.contains("4 pods: 1 with a role, 1 refused"), "{text}");
        assert!(text.contains("1 of them in the node's network"), "{text}");
        assert!(text.contains("--host-network-pods=mapped"), "{text}");
        assert!(text.contains("shop/proxy") && text.contains("the node's own"), "{text}");
        assert!(text.contains("without tags"), "{text}");
        assert!(text.contains("shop/cart-0") && !text.contains("shop/plain"), "{text}");
        assert!(text.contains("podrole_redirects_total"), "{text}");
    }

    #[test]
    fn it_travels_as_it_is() {
        let json = serde_json::to_value(status()).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(json["pods"][0]["session"]["untagged"], true);
        assert_eq!(json["pods"][3]["hostNetwork"], "node");
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status());
    }
}
