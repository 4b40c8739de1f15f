//! From a request to an answer: who asks, what for, may they have it. Errors of all rooms become
//! statuses here and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tracing::debug;

use crate::callers::attest::Origin;
use crate::callers::pods::Pod;
use crate::callers::{Caller, Callers, Unidentified};
use crate::clock::Clock;
use crate::credentials::{Broker, SessionPlan};
use crate::operate::events::Events;
use crate::operate::metrics::{Document, Requests};
use crate::roles::{Decision, Roles};

use super::documents;
use super::host::is_for_metadata;
use super::protocol::{Asked, Settled, TTL_HEADER, classify};
use super::response::{Answer, allow, document, page, unavailable, with_number};
use super::token::Keys;

use self::tokens::{FORWARDED_FOR, TOKEN_HEADER, Token};

mod credentials;
mod tokens;
mod told;

/// SDKs give up after a second; what is not known by now is answered with "ask again".
const BUDGET: Duration = Duration::from_millis(900);

/// Answers requests.
pub struct Handler {
    /// The keys that `IMDSv2` tokens are made with.
    pub keys: Keys,
    /// Who is calling.
    pub callers: Callers,
    /// Which role a pod has.
    pub roles: Roles,
    /// How its session is asked for.
    pub plan: SessionPlan,
    /// Who has the credentials.
    pub broker: Broker,
    /// The time of day.
    pub clock: Clock,
    /// The metadata service's addresses, by which requests may name it.
    pub addresses: Vec<IpAddr>,
    /// When the agent started: the age of documents that never change.
    pub started: SystemTime,
    /// Counts what is answered.
    pub requests: Requests,
    /// Tells of refusals on the pods concerned.
    pub events: Events,
}

impl Handler {
    /// Answers one request of `caller`.
    pub async fn answer(&self, caller: Caller, request: &Parts) -> Answer {
        let asked = classify(&request.method, &request.uri);
        let document = asked.as_ref().map_or(Document::Other, document_of);
        let is_seen = caller.origin != Origin::Unseen;
        let answer = if is_seen && is_for_metadata(request, &self.addresses) {
            self.answer_pod(&caller, &request.headers, asked).await
        } else {
            page(StatusCode::FORBIDDEN)
        };
        self.requests.count(document, answer.status());
        let (method, path) = (&request.method, request.uri.path());
        let (peer, status) = (caller.address, answer.status().as_u16());
        debug!(%peer, origin = ?caller.origin, %method, path, status, "answered");
        answer
    }

    /// Answers a connection that the kernel saw leave a pod's own socket.
    async fn answer_pod(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        asked: Result<Asked, Settled>,
    ) -> Answer {
        match asked {
            Ok(Asked::Token) => self.issue_token(caller, headers),
            Ok(asked) => self.read(caller, headers, Some(&asked)).await,
            Err(Settled::NotFound) => self.read(caller, headers, None).await,
            Err(Settled::MethodNotAllowed(methods)) => {
                allow(StatusCode::METHOD_NOT_ALLOWED, methods.as_str())
            }
            Err(Settled::Options(methods)) => allow(StatusCode::OK, methods.as_str()),
            Err(Settled::Forbidden) => page(StatusCode::FORBIDDEN),
            Err(Settled::BadRequest) => page(StatusCode::BAD_REQUEST),
        }
    }

    /// A document, or (`None`) a path that has none: a bad token is told before either.
    async fn read(&self, caller: &Caller, headers: &HeaderMap, asked: Option<&Asked>) -> Answer {
        let deadline = Instant::now() + BUDGET;
        let has_token = headers.contains_key(TOKEN_HEADER);
        if !has_token {
            match asked {
                None => return page(StatusCode::NOT_FOUND),
                Some(Asked::Versions) => return document(documents::versions(), self.started),
                Some(Asked::Version) => return document(documents::version(), self.started),
                Some(_) => {}
            }
        }
        let pod = match self.callers.identify(caller, deadline).await {
            Ok(pod) => pod,
            Err(unidentified) => return self.answer_to_nobody(unidentified),
        };
        let Some(valid) = self.check_token(caller, &pod, headers) else {
            return page(StatusCode::UNAUTHORIZED);
        };
        if has_token && headers.contains_key(FORWARDED_FOR) {
            return page(StatusCode::FORBIDDEN);
        }
        let answer = match asked {
            Some(asked) => self.read_as(&pod, asked, deadline).await,
            None => page(StatusCode::NOT_FOUND),
        };
        match valid {
            Token::Absent => answer,
            Token::Valid(valid) => with_number(answer, TTL_HEADER, valid.remaining.as_secs()),
        }
    }

    fn answer_to_nobody(&self, unidentified: Unidentified) -> Answer {
        match unidentified {
            Unidentified::Node => page(StatusCode::NOT_FOUND),
            Unidentified::Unknown | Unidentified::Ambiguous => {
                unavailable(&unidentified.to_string(), self.clock.now())
            }
            Unidentified::Spoofed | Unidentified::Unseen | Unidentified::NoPod => {
                page(StatusCode::FORBIDDEN)
            }
        }
    }

    async fn read_as(&self, pod: &Arc<Pod>, asked: &Asked, deadline: Instant) -> Answer {
        let granted = match self.roles.decided(pod, deadline).await {
            Decision::Granted(grant) => Some(grant),
            Decision::Refused(refusal) if concerns_role(asked) => {
                return self.role_refused(pod, &refusal);
            }
            Decision::NotYet(what) if concerns_role(asked) => {
                return unavailable(&what.to_string(), self.clock.now());
            }
            Decision::None | Decision::Refused(_) | Decision::NotYet(_) => None,
        };
        match (asked, granted) {
            (Asked::Versions, _) => document(documents::versions(), self.started),
            (Asked::Version, _) => document(documents::version(), self.started),
            (Asked::MetaData, granted) => {
                document(documents::meta_data(granted.is_some()), self.started)
            }
            (Asked::Iam, Some(_)) => document(documents::iam(), pod.created),
            (Asked::RoleList | Asked::IamInfo | Asked::Role(_), Some(grant)) => {
                self.read_role(pod, asked, &grant, deadline).await
            }
            (Asked::Iam | Asked::RoleList | Asked::Role(_) | Asked::IamInfo | Asked::Token, _) => {
                page(StatusCode::NOT_FOUND)
            }
        }
    }
}

fn document_of(asked: &Asked) -> Document {
    match asked {
        Asked::Token => Document::Token,
        Asked::RoleList => Document::RoleList,
        Asked::Role(_) => Document::Credentials,
        Asked::IamInfo => Document::IamInfo,
        Asked::Versions | Asked::Version | Asked::MetaData | Asked::Iam => Document::Other,
    }
}

fn concerns_role(asked: &Asked) -> bool {
    matches!(asked, Asked::Iam | Asked::RoleList | Asked::Role(_) | Asked::IamInfo)
}

#[cfg(test)]
mod tests;
