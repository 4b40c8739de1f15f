//! What one agent hands to the next: the sessions that it holds, and what AWS taught it of roles. Secrets
//! go from memory to memory, in buffers that are zeroised.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::warn;
use zeroize::Zeroizing;

use super::learned::Lesson;
use super::{Credentials, SessionRequest};
use crate::roles::RoleArn;

/// The format of what is handed over. Another one is not read: whoever meets it begins afresh.
const FORMAT: u32 = 1;

/// All that is handed over.
#[derive(Debug, Default)]
pub struct Handed {
    /// What came of asking AWS for sessions.
    pub sessions: HandedSessions,
    /// What was learned of roles.
    pub lessons: Lessons,
}

/// What came of asking AWS for sessions.
#[derive(Debug, Default)]
pub struct HandedSessions {
    /// Those that are held.
    pub held: Vec<HandedSession>,
    /// Those that AWS refused.
    pub refused: Vec<HandedRefusal>,
}

/// A session that AWS refused, so that it is not asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedRefusal {
    /// Every input of it.
    pub request: SessionRequest,
    /// AWS's error code.
    pub code: Box<str>,
    /// AWS's message.
    pub message: Box<str>,
    /// For how long that is still the answer to who asks.
    pub left: Duration,
    /// Fetches that failed since one succeeded.
    pub failures: u32,
}

/// A session, and what is planned for it.
#[derive(Clone, Debug)]
pub struct HandedSession {
    /// Every input of it.
    pub request: Arc<SessionRequest>,
    /// What is held.
    pub credentials: Arc<Credentials>,
    /// What is left of it, by the clock that never jumps.
    pub left: Duration,
    /// What it has left while AWS answers.
    pub floor: Duration,
    /// What it has left when it is refreshed.
    pub refresh_left: Duration,
}

/// What AWS taught about roles, by the source that it taught.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lessons {
    /// The source `sts`.
    pub(super) sts: Vec<Learnt>,
    /// The source `web-identity`.
    pub(super) web_identity: Vec<Learnt>,
}

/// A lesson, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Learnt {
    pub(super) role: RoleArn,
    pub(super) lesson: Lesson,
    pub(super) age: Duration,
}

/// As it travels: each session by itself, so that one which another version does not know costs no other.
#[derive(Deserialize)]
struct Envelope<'a> {
    format: u32,
    #[serde(borrow, default)]
    sessions: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    refused: Vec<&'a RawValue>,
    #[serde(default)]
    lessons: Lessons,
}

#[derive(Serialize)]
struct Outgoing<'a> {
    format: u32,
    sessions: Vec<Wire<'a>>,
    refused: &'a [HandedRefusal],
    lessons: &'a Lessons,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    request: Cow<'a, SessionRequest>,
    role: Cow<'a, RoleArn>,
    #[serde(borrow)]
    access_key_id: Cow<'a, str>,
    #[serde(borrow)]
    secret_access_key: Cow<'a, str>,
    #[serde(borrow)]
    session_token: Cow<'a, str>,
    /// Since 1970.
    expiration: Duration,
    /// Since 1970.
    obtained: Duration,
    left: Duration,
    floor: Duration,
    refresh_left: Duration,
}

impl Handed {
    /// As it travels.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let HandedSessions { held, refused } = &self.sessions;
        let sessions = held.iter().map(Wire::of).collect();
        let outgoing = Outgoing { format: FORMAT, sessions, refused, lessons: &self.lessons };
        // Measured first: a buffer that grows leaves copies behind that nobody zeroises.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &outgoing)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *bytes, &outgoing)?;
        Ok(bytes)
    }

    /// What has travelled. What is not understood is left out: it is asked for anew.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let envelope: Envelope<'_> = match serde_json::from_slice(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                warn!(%error, "what the agent before hands over is not understood; its sessions are asked for anew");
                return Self::default();
            }
        };
        if envelope.format != FORMAT {
            let format = envelope.format;
            warn!(
                format,
                "the agent before hands over in another format; its sessions are asked for anew"
            );
            return Self::default();
        }
        let held = envelope.sessions.iter().filter_map(|session| understood::<Wire<'_>>(session));
        let refused = envelope.refused.iter().filter_map(|refused| understood(refused));
        Self {
            sessions: HandedSessions {
                held: held.map(HandedSession::from).collect(),
                refused: refused.collect(),
            },
            lessons: envelope.lessons,
        }
    }
}

fn understood<'a, T: Deserialize<'a>>(session: &'a RawValue) -> Option<T> {
    let read = serde_json::from_str(session.get());
    read.inspect_err(|_| warn!("a session is not understood; it is asked for anew")).ok()
}

impl<'a> Wire<'a> {
    fn of(session: &'a HandedSession) -> Self {
        let credentials = &session.credentials;
        Self {
            request: Cow::Borrowed(&session.request),
            role: Cow::Borrowed(&credentials.role),
            access_key_id: Cow::Borrowed(&credentials.access_key_id),
            secret_access_key: Cow::Borrowed(credentials.secret_access_key.expose_secret()),
            session_token: Cow::Borrowed(credentials.session_token.expose_secret()),
            expiration: since_1970(credentials.expiration),
            obtained: since_1970(credentials.obtained),
            left: session.left,
            floor: session.floor,
            refresh_left: session.refresh_left,
        }
    }
}

impl From<Wire<'_>> for HandedSession {
    fn from(wire: Wire<'_>) -> Self {
        Self {
            request: Arc::new(wire.request.into_owned()),
            credentials: Arc::new(Credentials {
                role: wire.role.into_owned(),
                access_key_id: wire.access_key_id.into(),
                secret_access_key: SecretString::from(&*wire.secret_access_key),
                session_token: SecretString::from(&*wire.session_token),
                expiration: UNIX_EPOCH + wire.expiration,
                obtained: UNIX_EPOCH + wire.obtained,
            }),
            left: wire.left,
            floor: wire.floor,
            refresh_left: wire.refresh_left,
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> HandedSession {
        let at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        HandedSession {
            request: Arc::new(SessionRequest::fixture(name)),
            credentials: Arc::new(Credentials {
                role: "arn:aws:iam::123456789012:role/path/web".parse().unwrap(),
                access_key_id: "ASIAEXAMPLE".into(),
                secret_access_key: SecretString::from("a/secret+\"\\".to_owned()),
                session_token: SecretString::from("IQoJb3Jp//".to_owned()),
                expiration: at + Duration::from_hours(1),
                obtained: at,
            }),
            left: Duration::from_millis(3_599_999),
            floor: Duration::from_mins(25),
            refresh_left: Duration::from_millis(1_900_001),
        }
    }

    fn handed(held: Vec<HandedSession>) -> Handed {
        let refused = HandedRefusal {
            request: SessionRequest::fixture("refused"),
            code: "AccessDenied".into(),
            message: "not \"you\"".into(),
            left: Duration::from_millis(29_999),
            failures: 3,
        };
        Handed { sessions: HandedSessions { held, refused: vec![refused] }, lessons: lessons() }
    }

    fn lessons() -> Lessons {
        let role: RoleArn = "arn:aws:iam::123456789012:role/old".parse().unwrap();
        let learnt = Learnt { role, lesson: Lesson::Untagged, age: Duration::from_secs(7) };
        Lessons { sts: vec![learnt], web_identity: Vec::new() }
    }

    #[test]
    fn what_was_handed_over_is_what_was_held() {
        let handed = handed(vec![session("a"), session("b")]);
        let bytes = handed.write().unwrap();
        assert_eq!(bytes.len(), bytes.capacity(), "it has never grown");
        let read = Handed::read(&bytes);
        assert_eq!(read.lessons, handed.lessons);
        assert_eq!(read.sessions.refused, handed.sessions.refused);
        assert_eq!(read.sessions.held.len(), 2);
        for (read, held) in read.sessions.held.iter().zip(&handed.sessions.held) {
            assert_eq!(read.request, held.request);
            assert_eq!(
                (read.left, read.floor, read.refresh_left),
                (held.left, held.floor, held.refresh_left)
            );
            let (read, held) = (&read.credentials, &held.credentials);
            assert_eq!((&read.role, &read.access_key_id), (&held.role, &held.access_key_id));
            assert_eq!((read.expiration, read.obtained), (held.expiration, held.obtained));
            assert_eq!(
                (read.secret_access_key.expose_secret(), read.session_token.expose_secret()),
                (held.secret_access_key.expose_secret(), held.session_token.expose_secret())
            );
        }
    }

    #[test]
    fn what_another_version_hands_over_costs_no_more_than_itself() {
        let text = handed(vec![session("a")]).write().unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let more = text.replacen("\"sessions\":[", "\"sessions\":[{\"request\":{\"New\":1}},", 1);
        let more = more.replacen("\"refused\":[", "\"refused\":[{\"request\":{\"New\":1}},", 1);
        let read = Handed::read(more.as_bytes()).sessions;
        assert_eq!((read.held.len(), read.refused.len()), (1, 1));
        let added = text.replacen("{\"format\"", "{\"more\":[1],\"format\"", 1);
        assert_eq!(Handed::read(added.as_bytes()).sessions.held.len(), 1);
        let older = text.replacen("\"refused\"", "\"unknown\"", 1);
        assert_eq!(Handed::read(older.as_bytes()).sessions.held.len(), 1);
        for unknown in [text.replacen("\"format\":1", "\"format\":2", 1), "{}".into(), "x".into()] {
            let read = Handed::read(unknown.as_bytes());
            assert!(read.sessions.held.is_empty() && read.sessions.refused.is_empty(), "{unknown}");
            assert_eq!(read.lessons, Lessons::default(), "{unknown}");
        }
    }
}
