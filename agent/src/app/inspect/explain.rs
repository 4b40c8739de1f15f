//! What `podrole explain` shows: the pod, what each rule said, what is asked of AWS, the trust policy
//! that this needs, and what is held.

mod compose;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub(crate) use self::compose::verdict;
pub use self::compose::{About, compose};
use super::Show;
use super::status::{SessionStatus, Verdict};
use super::text::{Paint, pairs, prose, table};
use crate::credentials::trust::Policy;

/// The answer to [`crate::operate::control::Question::Explain`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Whose word this is.
    pub told_by: String,
    /// What whoever tells does not know.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unknown: Vec<String>,
    /// The pod.
    pub pod: PodFacts,
    /// What is decided.
    pub verdict: Verdict,
    /// Each rule, in the order in which they are asked.
    pub rules: Vec<RuleSaid>,
    /// What is asked of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Why nothing can be asked of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_refused: Option<String>,
    /// The trust policies that this needs.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub trust_policies: Vec<TrustPolicy>,
    /// The pod's session on its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionStatus>,
    /// What of the pod did not arrive, and how to find out why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unreachable: Option<String>,
    /// What to do about the last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What is known of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// Whether it lives in the node's network namespace.
    pub host_network: bool,
    /// Whether it is the node for that, whatever rules say.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_node: bool,
    /// What such pods get by the node's settings.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host_network_gets: Option<String>,
}

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSaid {
    /// The rule.
    pub rule: String,
    /// `absent`, `audited`, `granted`, `refused`, `not-yet` or `not-asked`.
    pub verdict: String,
    /// In words, with the mend.
    pub says: String,
}

/// What is asked of AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `sts`, `web-identity` or `eks-pod-identity`.
    pub source: String,
    /// The role; EKS alone knows that of its associations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The role that is assumed from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_role: Option<String>,
    /// `RoleSessionName`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// The session tags, in the order in which they are sent.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// Whether sessions that the pod's code assumes inherit them.
    pub transitive: bool,
    /// `ExternalId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// How long the session is to last, in seconds, where we say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
}

/// A session tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A trust policy, ready to paste.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrustPolicy {
    /// The role that needs it; none where EKS alone knows it.
    pub role: Option<String>,
    /// The policy.
    pub policy: Policy,
}

impl Explanation {
    /// Whether the pod has what it should, as far as is known: a role and no failure, or no role asked
    /// for.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let decided = matches!(self.verdict, Verdict::Granted | Verdict::None);
        let failed = self
            .session
            .as_ref()
            .is_some_and(|session| session.error.is_some() && session.expires.is_none());
        decided && self.request_refused.is_none() && !failed
    }
}

impl Show for Explanation {
    fn show(&self, paint: Paint) -> String {
        let PodFacts { namespace, name, uid, service_account, host_network_gets, .. } = &self.pod;
        let network = host_network_gets.as_ref();
        let network = network.map_or("its own".into(), |gets| format!("the node's: {gets}"));
        let mut text = format!("Pod {namespace}/{name}: {}\n\n", self.headline(paint));
        let mut about = vec![
            ("ServiceAccount", service_account.clone()),
            ("UID", uid.clone()),
            ("Network", network),
            ("Told by", self.told_by.clone()),
        ];
        about.extend(self.unknown.iter().map(|what| ("Not known", what.clone())));
        text += &pairs(&about);
        let rules = self.rules.iter().map(|said| [said.rule.clone(), said.says.clone()]);
        text.push('\n');
        text += &table(["RULE", "SAYS"], rules.collect());
        if let Some(request) = &self.request {
            text += "\nAsked of AWS:\n";
            text += &pairs(&request.lines());
        }
        if let Some(session) = &self.session {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{}", prose(&format!("Session on the node: {session}")));
        }
        if let Some(unreachable) = &self.unreachable {
            let _ = writeln!(text, "\n{}", paint.bad(prose(unreachable).trim_end()));
        }
        if let Some(advice) = &self.advice {
            // Each of several on a line of its own.
            let each = (1..10).fold(advice.clone(), |advice, number| {
                advice.replace(&format!(" ({number}) "), &format!("\n({number}) "))
            });
            text += &prose(&each);
        }
        for TrustPolicy { role, policy } in &self.trust_policies {
            let role = role.as_deref().unwrap_or("the role that the EKS association names");
            let policy = serde_json::to_string_pretty(policy).unwrap_or_default();
            let _ = writeln!(text, "\nTrust policy that {role} needs:\n{policy}");
        }
        text
    }
}

impl Explanation {
    fn headline(&self, paint: Paint) -> String {
        if self.pod.is_node {
            return "is the node: it has the node's role, whatever rules say".to_owned();
        }
        let by = self.rules.iter().find(|said| said.verdict == "granted");
        match (self.verdict, &self.request_refused, by) {
            (Verdict::Granted, Some(why), _) => {
                paint.bad(format!("has a role and no session: {why}"))
            }
            (Verdict::Granted, None, Some(said)) if !self.is_good() => {
                paint.bad(format!("has a role by {}, and AWS gives no credentials", said.rule))
            }
            (Verdict::Granted, None, Some(said)) => {
                let role = self.request.as_ref().and_then(Request::last_role);
                let role = role.unwrap_or("the role that EKS says");
                paint.good(format!("has {role} by {}", said.rule))
            }
            (Verdict::Granted, None, None) => paint.good("has a role"),
            (Verdict::Refused, _, _) => paint.bad("is refused a role"),
            (Verdict::NotYet, _, _) => paint.bad("cannot be decided yet"),
            (Verdict::None, _, _) => "has no role: nothing maps it".to_owned(),
        }
    }
}

impl Request {
    fn last_role(&self) -> Option<&str> {
        self.target_role.as_deref().or(self.role.as_deref())
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("Source", self.source.clone())];
        let mut optional = |name, value: Option<String>| lines.extend(value.map(|it| (name, it)));
        optional("Role", self.role.clone());
        optional("Then", self.target_role.clone());
        optional("Session name", self.session_name.clone());
        optional("External id", self.external_id.clone());
        optional("Duration", self.duration_seconds.map(|seconds| format!("{seconds} s")));
        let inherited = if self.transitive { " (transitive)" } else { "" };
        let tags = self.tags.iter();
        lines.extend(tags.map(|Tag { key, value }| ("Tag", format!("{key}={value}{inherited}"))));
        lines
    }
}

#[cfg(test)]
mod tests;
