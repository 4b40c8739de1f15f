//! How AssumeRole is made to go wrong.

use std::collections::HashMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// As STS does it.
    #[default]
    Normal,
    /// `AccessDenied`, 403. A `GetCallerIdentity` is answered: nobody can be denied that.
    AccessDenied,
    /// `Throttling`, 400.
    Throttling,
    /// `InternalFailure`, 500.
    InternalFailure,
    /// `ExpiredToken`, 403: the caller's own credentials are said to have expired.
    ExpiredToken,
    /// 200 and something that is not XML.
    Rubbish,
    /// No answer, ever.
    Hang,
    /// A session of [`Behaviour::session_seconds`], whatever was asked for.
    ShortSession,
    /// A session that expired a minute ago.
    Expired,
}

/// A way, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behaviour {
    /// What becomes of a call.
    pub answer: Way,
    /// Milliseconds before the answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Seconds that a short session lasts.
    #[serde(default = "ninety")]
    pub session_seconds: u32,
}

const fn ninety() -> u32 {
    90
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::of(Way::Normal)
    }
}

impl Behaviour {
    /// This way, at once.
    #[must_use]
    pub const fn of(answer: Way) -> Self {
        Self { answer, delay_ms: 0, session_seconds: ninety() }
    }

    /// How long a session lasts for which `asked` seconds were asked.
    #[must_use]
    pub fn lifetime(&self, asked: u32) -> SignedDuration {
        SignedDuration::from_secs(match self.answer {
            Way::ShortSession => i64::from(self.session_seconds),
            Way::Expired => -60,
            _ => i64::from(asked),
        })
    }
}

/// Beginnings of role names that decide the answer without a setting. `missing` is no failure of
/// its own: STS says of a role that does not exist what it says of one that may not be assumed.
pub const BY_NAME: &[(&str, Way)] = &[
    ("missing", Way::AccessDenied),
    ("denied", Way::AccessDenied),
    ("throttled", Way::Throttling),
    ("broken", Way::InternalFailure),
    ("rubbish", Way::Rubbish),
    ("hanging", Way::Hang),
    ("short", Way::ShortSession),
    ("expired", Way::Expired),
];

/// Body of `PUT /_pretend/behaviour`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// ARN of the role that it is for; `None`: every role without a setting of its own, and
    /// `GetCallerIdentity`.
    #[serde(default)]
    pub role: Option<String>,
    /// What is to happen.
    #[serde(flatten)]
    pub behaviour: Behaviour,
}

/// The settings made so far.
#[derive(Debug, Default)]
pub struct Settings(HashMap<Option<String>, Behaviour>);

impl Settings {
    /// Sets, in place of what was set for the same role.
    pub fn put(&mut self, setting: Setting) {
        self.0.insert(setting.role, setting.behaviour);
    }

    /// What holds for a role: its own setting, else its name, else the setting for all.
    #[must_use]
    pub fn find(&self, role_arn: Option<&str>) -> Behaviour {
        let own = role_arn.and_then(|arn| self.0.get(&Some(arn.to_owned())).copied());
        let all = self.0.get(&None).copied();
        own.or_else(|| by_name(role_arn?)).or(all).unwrap_or_default()
    }
}

fn by_name(role_arn: &str) -> Option<Behaviour> {
    let (_, name) = role_arn.rsplit_once('/')?;
    let (_, way) = BY_NAME.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    Some(Behaviour::of(*way))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_own_setting_goes_before_its_name_and_its_name_before_the_setting_for_all() {
        let arn = "arn:aws:iam::111122223333:role/team/missing-role";
        let mut settings = Settings::default();
        settings.put(Setting { role: None, behaviour: Behaviour::of(Way::Hang) });
        assert_eq!(settings.find(Some(arn)).answer, Way::AccessDenied);
        settings.put(Setting { role: Some(arn.to_owned()), behaviour: Behaviour::default() });
        assert_eq!(settings.find(Some(arn)).answer, Way::Normal);
        assert_eq!(settings.find(None).answer, Way::Hang);
    }

    #[test]
    fn a_setting_needs_no_more_than_an_answer() {
        let setting: Setting = serde_json::from_str(r#"{"answer":"short-session"}"#).unwrap();
        assert_eq!(setting.behaviour, Behaviour::of(Way::ShortSession));
        assert_eq!(setting.role, None);
    }
}
