//! The sessions given out, and the credentials that tell whose they are.

use std::collections::BTreeMap;

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answer::Refusal;
use super::check::RoleArn;
use crate::pretend::node::Keys;
use crate::pretend::random;

/// What a session was given for; a session token is this, in JSON and base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// ARN of the role.
    pub role: String,
    /// Session name.
    pub session: String,
    /// Session tags, with those inherited from the calling session.
    pub tags: BTreeMap<String, String>,
    /// Keys of the tags that sessions assumed with this one inherit.
    pub transitive: Vec<String>,
    /// Whose token it was given for, where it was given for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Seconds that were asked for.
    pub duration: u32,
    /// Number of the session, from 1: a later one of the same role differs by it.
    pub serial: u64,
}

/// Reads a session token of the pretend STS.
pub fn read_token(token: &str) -> anyhow::Result<Session> {
    let json = STANDARD.decode(token).with_context(|| format!("no token of ours: {token}"))?;
    serde_json::from_slice(&json).with_context(|| format!("no token of ours: {token}"))
}

/// Someone whose signature STS takes.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What it signs with.
    pub keys: Keys,
    /// Whom STS says it is.
    pub arn: String,
    /// `AROA…:SESSION`, or the id of a user.
    pub user_id: String,
    /// Whether what it assumes counts as role chaining.
    pub is_role: bool,
    /// When its keys expire; `None`: they don't.
    pub expires: Option<Timestamp>,
    /// The session, of those that this server gave out.
    pub session: Option<Session>,
}

impl Caller {
    /// The node.
    #[must_use]
    pub fn node(keys: Keys, arn: &str) -> Self {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let user_id = format!("{}:{name}", random::aws_identifier("AROA", 17, "node"));
        Self { keys, arn: arn.to_owned(), user_id, is_role: false, expires: None, session: None }
    }

    /// The holder of a new session.
    pub(super) fn session(
        session: Session,
        role: &RoleArn,
        expires: Timestamp,
    ) -> Result<Self, Refusal> {
        let json = serde_json::to_vec(&session).map_err(|_| Refusal::internal_failure())?;
        let seed = format!("{}|{}|{}", session.role, session.session, session.serial);
        let keys = Keys {
            id: random::aws_identifier("ASIA", 16, &seed),
            secret: secret(&seed),
            token: Some(STANDARD.encode(json)),
        };
        let role_id = random::aws_identifier("AROA", 17, &session.role);
        Ok(Self {
            keys,
            arn: role.session_arn(&session.session),
            user_id: format!("{role_id}:{}", session.session),
            is_role: true,
            expires: Some(expires),
            session: Some(session),
        })
    }

    /// Account of the ARN.
    #[must_use]
    pub fn account(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }

    /// The tags that sessions assumed by this one inherit.
    #[must_use]
    pub fn transitive_tags(&self) -> BTreeMap<String, String> {
        let Some(session) = &self.session else { return BTreeMap::new() };
        let inherits = |key: &String| session.transitive.contains(key);
        session.tags.clone().into_iter().filter(|(key, _)| inherits(key)).collect()
    }
}

/// Forty characters with `+` and `/` among them, which careless clients escape or cut.
fn secret(seed: &str) -> String {
    let digest = digest(&SHA256, format!("secret of {seed}").as_bytes());
    let text = STANDARD.encode(digest);
    let body: String = text.chars().filter(|&letter| letter != '=').take(38).collect();
    let (front, back) = body.split_at(19);
    format!("{front}+{back}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_forty_characters_with_plus_and_slash() {
        for seed in 0..100 {
            let secret = secret(&seed.to_string());
            assert_eq!(secret.len(), 40);
            assert!(secret.contains('+') && secret.contains('/'), "{secret}");
        }
    }
}
