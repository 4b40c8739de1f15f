//! [`Status`] as text: tables that fit 100 columns.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{
    HostNetworkStatus, PodStatus, ProgramState, ProgramStatus, SessionStatus, Status, Verdict,
};
use crate::app::inspect::Show;
use crate::app::inspect::text::{Paint, table};

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
            programs,
            counters,
            ..
        } = self;
        let changing = if *changing { ", changing" } else { "" };
        let verdict = paint.verdict(ready);
        let mut text = format!(
            "podrole {version} on {node} (mode {mode}{changing}), since {started}: {verdict}\n"
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
        text += &table(["PROGRAMS", "ON", "STATE"], program_rows(programs));
        let told =
            pods.iter().filter(|pod| pod.verdict != Verdict::None || pod.host_network.is_some());
        let rows: Vec<_> = told.map(|pod| pod.row(&self.time)).collect();
        if !rows.is_empty() {
            text.push('\n');
            text += &table(["POD", "RULE", "ROLE", "SESSION"], rows);
        }
        text.push('\n');
        let rows = counters.iter().filter_map(|(name, value)| counter_row(name, *value)).collect();
        text += &table(["COUNTED", "OF", ""], rows);
        painted(&text, paint)
    }
}

/// What is in the same state at the same place, in one line.
fn program_rows(programs: &[ProgramStatus]) -> Vec<[String; 3]> {
    let alike = |a: &ProgramStatus, b: &ProgramStatus| {
        (&a.hook, &a.on, a.state) == (&b.hook, &b.on, b.state)
    };
    let groups = programs.chunk_by(alike);
    let rows = groups.filter_map(|group| {
        let first = group.first()?;
        let names: Vec<_> = group.iter().map(|program| program.name.as_str()).collect();
        let on = match (first.hook.as_str(), first.on.as_slice()) {
            ("none", _) => "no hook in this kernel".to_owned(),
            ("cgroup", on) => on.concat(),
            (hook, []) => format!("no interface ({hook})"),
            (hook, on) => format!("{} ({hook})", on.join(", ")),
        };
        Some([names.join(" "), on, first.state.to_string()])
    });
    rows.collect()
}

/// `podrole_a_b_total{c="d"}` as `a b`, `c=d`; nothing of what is no counter of podrole's.
fn counter_row(name: &str, value: f64) -> Option<[String; 3]> {
    let (name, labels) = name.split_once('{').unwrap_or((name, ""));
    let name = name.strip_prefix("podrole_")?.strip_suffix("_total")?.replace('_', " ");
    let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.ends_with("\"\""));
    let labels = labels.collect::<Vec<_>>().join(" ").replace('"', "");
    Some([name, labels, value.to_string()])
}

/// The words that need somebody, so that they are seen.
fn painted(text: &str, paint: Paint) -> String {
    let lines = text.lines().map(|line| {
        let line = match line.trim_end().rsplit_once("  ") {
            Some((rest, state)) if BAD_STATES.contains(&state) => {
                format!("{rest}  {}", paint.bad(state))
            }
            _ => line.to_owned(),
        };
        line + "\n"
    });
    lines.collect()
}

const BAD_STATES: [&str; 3] = ["refusing all pods", "NOT ATTACHED", "MISSING"];

impl std::fmt::Display for ProgramState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attached => "attached",
            Self::Refusing => "refusing all pods",
            Self::NotAttached => "NOT ATTACHED",
            Self::Off => "off",
            Self::Missing => "MISSING",
        })
    }
}

impl PodStatus {
    fn row(&self, now: &str) -> [String; 4] {
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
            (Verdict::Granted, Some(session), _) => session.text(now),
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

impl SessionStatus {
    /// As it is at a moment (RFC 3339): how long credentials last is what matters.
    fn text(&self, now: &str) -> String {
        let left = self.expires.as_ref().and_then(|expires| {
            let (end, now) = (expires.parse::<Timestamp>().ok()?, now.parse::<Timestamp>().ok()?);
            Some(format!(", {} min left", end.duration_since(now).as_mins().max(0)))
        });
        let tags = if self.untagged { ", without tags (untagged-fallback)" } else { "" };
        let error = self.error.as_ref().map(|error| format!(": {error}"));
        format!("{}{}{tags}{}", self.state, left.unwrap_or_default(), error.unwrap_or_default())
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
    use crate::app::inspect::Ready;

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
            time: "2026-11-22T12:05:59Z".into(),
            programs: ["connect4", "connect6", "forward"].map(program).into(),
            ready: Ready { ready: false, missing: vec!["the self-test".into()] },
            host_network_pods: "mapped".into(),
            mode: "enforce".into(),
            changing: false,
            pods: vec![granted, refused, pod("plain", Verdict::None), host],
            counters: [
                ("podrole_redirects_total".to_owned(), 12.0),
                (
                    "podrole_requests_total{document=\"token\",status=\"200\",pod_namespace=\"shop\"}"
                        .to_owned(),
                    3.0,
                ),
                ("podrole_sessions".to_owned(), 2.0),
                ("process_open_fds".to_owned(), 20.0),
            ]
            .into(),
        }
    }

    fn program(name: &str) -> ProgramStatus {
        let is_forward = name == "forward";
        let on = if is_forward { vec!["eth0", "eth1"] } else { vec!["/sys/fs/cgroup/kubepods"] };
        ProgramStatus {
            name: name.into(),
            hook: if is_forward { "tcx" } else { "cgroup" }.into(),
            on: on.into_iter().map(str::to_owned).collect(),
            state: if is_forward { ProgramState::NotAttached } else { ProgramState::Attached },
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
        assert!(text.contains("shop/cart-0  pod annotation"), "{text}");
        assert!(text.contains("held, 54 min left"), "{text}");
    }

    #[test]
    fn programs_that_are_alike_share_a_line() {
        let text = status().show(Paint::none());
        assert!(
            text.contains("\nconnect4 connect6  /sys/fs/cgroup/kubepods  attached\n"),
            "{text}"
        );
        assert!(
            text.contains("\nforward            eth0, eth1 (tcx)         NOT ATTACHED\n"),
            "{text}"
        );
    }

    #[test]
    fn counters_are_told_in_words() {
        let text = status().show(Paint::none());
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, counted) = text.split_once("COUNTED").unwrap();
        let counted: Vec<_> = counted.lines().map(words).collect();
        let requests = "requests document=token status=200 pod_namespace=shop 3";
        assert_eq!(counted, ["OF", "redirects 12", requests], "counters of podrole alone");
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
