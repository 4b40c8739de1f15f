//! From a request to an answer: who asks, what for, may they have it. Errors of all rooms become
//! statuses here and nowhere else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;
use tracing::debug;

use crate::callers::attest::Origin;
use crate::callers::pods::Pod;
use crate::callers::{Caller, Callers, Unidentified};
use crate::clock::Clock;
use crate::credentials::{Broker, SessionPlan};
use crate::operate::events::Events;
use crate::operate::metrics::{Decisions, Document, Requests};
use crate::roles::{Decision, Missing, Roles};

use super::documents;
use super::host::is_for_metadata;
use super::limits::{Limits, Place, Whose};
use super::node::NodeMetadata;
use super::protocol::{Asked, Settled, TOKEN_HEADER, TTL_HEADER, classify};
use super::response::{Answer, allow, closing, document, page, unavailable, with_number};
use super::stricter::ImdsV1;
use super::token::Keyring;

use self::tokens::{FORWARDED_FOR, Token};
pub use self::worked::WorkedOut;

mod container;
mod credentials;
mod node;
mod tokens;
mod told;
mod worked;

/// SDKs give up after a second; what is not known by now is answered with "ask again".
const BUDGET: Duration = Duration::from_millis(900);

/// Answers requests.
pub struct Handler {
    /// The keys that `IMDSv2` tokens are made with.
    pub keys: Keyring,
    /// Who is calling.
    pub callers: Callers,
    /// Which role a pod has.
    pub roles: Roles,
    /// How its session is asked for.
    pub plan: SessionPlan,
    /// Who has the credentials.
    pub broker: Broker,
    /// What pods may read beside their role.
    pub node: NodeMetadata,
    /// Whether requests without a token are answered, unless a pod is stricter.
    pub imds_v1: ImdsV1,
    /// How much one pod may ask.
    pub limits: Limits,
    /// The time of day.
    pub clock: Clock,
    /// The metadata service's addresses, by which requests may name it.
    pub addresses: Vec<IpAddr>,
    /// Whether container credentials are answered too.
    pub container_credentials: bool,
    /// When the agent started: the age of documents that never change.
    pub started: SystemTime,
    /// Counts what is answered.
    pub requests: Requests,
    /// Counts what the rules say.
    pub decisions: Decisions,
    /// Tells of refusals on the pods concerned.
    pub events: Events,
    /// What was worked out for pods' last requests.
    pub worked_out: WorkedOut,
}

/// A connection that was accepted. Cheap to clone; its place is free again when the last is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    caller: Caller,
    place: Arc<Place>,
}

/// A request of a connection, and what becomes known of it.
struct Inquiry<'r> {
    caller: &'r Caller,
    headers: &'r HeaderMap,
    /// What is not known by then is answered with "ask again".
    until: Instant,
    /// Who asks.
    pod: Option<Arc<Pod>>,
}

impl Handler {
    /// Takes in a connection that was just accepted; `None` where it is to be closed at once.
    #[must_use]
    pub fn open(&self, peer: SocketAddr) -> Option<Connection> {
        let caller = self.callers.open(peer);
        let place = Arc::new(self.limits.open(Whose::of(&caller))?);
        Some(Connection { caller, place })
    }

    /// Answers one request of a connection, as far as its pod's limits go.
    pub async fn serve(&self, connection: &Connection, request: &Parts) -> Answer {
        let Connection { caller, place } = connection;
        // A token is given in any case: a client that misses one may do without for ever.
        let is_token = request.method == Method::PUT;
        let now = Instant::now();
        if !self.limits.admits(place, is_token, now) {
            return self.over_limit(caller, "this pod asks more often than one pod may");
        }
        if !is_token && !self.limits.serves(place, now + BUDGET).await {
            let why = "this pod has more connections than one pod may";
            return closing(self.over_limit(caller, why));
        }
        self.answer(*caller, request).await
    }

    fn over_limit(&self, caller: &Caller, why: &str) -> Answer {
        let answer = unavailable(why, self.clock.now());
        self.count(caller, None, Document::Other, answer.status());
        answer
    }

    /// Counts an answer to `pod`, or to whoever `caller` is.
    fn count(
        &self,
        caller: &Caller,
        pod: Option<Arc<Pod>>,
        document: Document,
        status: StatusCode,
    ) {
        let find = || pod.or_else(|| self.callers.find(caller).ok());
        let pod = self.requests.by_namespace().then(find).flatten();
        self.requests.count(document, status, pod.as_ref().map(|pod| &*pod.namespace));
    }

    /// Answers one request of `caller`.
    pub async fn answer(&self, caller: Caller, request: &Parts) -> Answer {
        let begun = Instant::now();
        let asked = classify(&request.method, &request.uri);
        let mut document = asked.as_ref().map_or(Document::Other, document_of);
        let mut pod = None;
        let is_seen = caller.origin != Origin::Unseen;
        let answer = if is_seen && is_for_metadata(request, &self.addresses) {
            let (headers, until) = (&request.headers, begun + BUDGET);
            let mut inquiry = Inquiry { caller: &caller, headers, until, pod: None };
            let answer = self.answer_pod(&mut inquiry, asked).await;
            pod = inquiry.pod;
            answer
        } else if is_seen && self.is_for_container(request) {
            document =
                if container::is_credentials(request) { Document::Credentials } else { document };
            Box::pin(self.answer_container(&caller, request)).await
        } else {
            page(StatusCode::FORBIDDEN)
        };
        self.count(&caller, pod, document, answer.status());
        self.requests.took(document, begun.elapsed());
        let (method, path) = (&request.method, request.uri.path());
        let (peer, status) = (caller.address, answer.status().as_u16());
        debug!(%peer, origin = ?caller.origin, %method, path, status, "answered");
        answer
    }

    fn is_for_container(&self, request: &Parts) -> bool {
        self.container_credentials && is_for_metadata(request, &container::ADDRESSES)
    }

    /// Answers a connection that the kernel saw leave a pod's own socket.
    async fn answer_pod(
        &self,
        inquiry: &mut Inquiry<'_>,
        asked: Result<Asked<'_>, Settled>,
    ) -> Answer {
        match asked {
            Ok(Asked::Token) => self.issue_token(inquiry.caller, inquiry.headers),
            Ok(asked) => self.read(inquiry, Some(&asked)).await,
            Err(Settled::NotFound) => self.read(inquiry, None).await,
            Err(Settled::MethodNotAllowed(methods)) => {
                allow(StatusCode::METHOD_NOT_ALLOWED, methods.as_str())
            }
            Err(Settled::Options(methods)) => allow(StatusCode::OK, methods.as_str()),
            Err(Settled::Forbidden) => page(StatusCode::FORBIDDEN),
            Err(Settled::BadRequest) => page(StatusCode::BAD_REQUEST),
        }
    }

    /// A document, or (`None`) a path that has none: a bad token is told before either.
    async fn read(&self, inquiry: &mut Inquiry<'_>, asked: Option<&Asked<'_>>) -> Answer {
        let Inquiry { caller, headers, until: deadline, .. } = *inquiry;
        let has_token = headers.contains_key(TOKEN_HEADER);
        if !has_token {
            if self.imds_v1 == ImdsV1::Deny {
                return page(StatusCode::UNAUTHORIZED);
            }
            if let Some(answer) = self.for_anybody(asked) {
                // Not worth the wait for a pod that is not known yet: there is no secret in it.
                let pod = self.callers.find(caller);
                let is_denied = pod.is_ok_and(|pod| {
                    let namespace = self.roles.namespace(&pod.namespace);
                    self.imds_v1.for_pod(&pod).for_namespace(&namespace) == Ok(ImdsV1::Deny)
                });
                return if is_denied { page(StatusCode::UNAUTHORIZED) } else { answer };
            }
        }
        let pod = match self.callers.identify(caller, deadline).await {
            Ok(pod) => pod,
            Err(unidentified) => return self.answer_to_nobody(unidentified),
        };
        let pod = &*inquiry.pod.insert(pod);
        let Some(valid) = self.check_token(caller, pod, headers) else {
            return page(StatusCode::UNAUTHORIZED);
        };
        if has_token && headers.contains_key(FORWARDED_FOR) {
            return page(StatusCode::FORBIDDEN);
        }
        if !has_token {
            match self.imds_v1_of(pod, deadline).await {
                Ok(ImdsV1::Allow) => {}
                Ok(ImdsV1::Deny) => return page(StatusCode::UNAUTHORIZED),
                Err(missing) => return unavailable(&missing.to_string(), self.clock.now()),
            }
        }
        let answer = match asked {
            Some(asked) => self.read_as(pod, asked, deadline).await,
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

    async fn imds_v1_of(&self, pod: &Pod, deadline: Instant) -> Result<ImdsV1, Missing> {
        let namespace = self.roles.namespace_of(pod, deadline).await;
        self.imds_v1.for_pod(pod).for_namespace(&namespace)
    }

    /// What is the same for whoever asks.
    fn for_anybody(&self, asked: Option<&Asked<'_>>) -> Option<Answer> {
        match asked {
            None => Some(page(StatusCode::NOT_FOUND)),
            Some(Asked::Versions) => Some(document(documents::versions(), self.started)),
            Some(Asked::Version) => Some(document(documents::version(), self.started)),
            Some(_) => None,
        }
    }

    async fn read_as(&self, pod: &Arc<Pod>, asked: &Asked<'_>, deadline: Instant) -> Answer {
        if let Some(answer) = self.for_anybody(Some(asked)) {
            return answer;
        }
        if let Asked::Node(version, path) = asked {
            return Box::pin(self.read_node(pod, version, path, deadline)).await;
        }
        let worked = self.worked_out(pod, deadline).await;
        if concerns_role(asked) {
            self.count_decision(pod, &worked.decision);
        }
        let granted = match &worked.decision {
            Decision::Granted(grant) => Some(grant),
            Decision::Refused(refusal) if concerns_role(asked) => {
                return self.role_refused(pod, refusal);
            }
            // The programs are told the same, and leave its next connection alone.
            Decision::None if self.callers.is_node_unless_mapped(pod) && concerns_role(asked) => {
                return unavailable("this pod is the node; connect again", self.clock.now());
            }
            Decision::NotYet(what) if concerns_role(asked) => {
                return unavailable(&what.to_string(), self.clock.now());
            }
            Decision::None | Decision::Refused(_) | Decision::NotYet(_) => None,
        };
        match (asked, granted) {
            (Asked::MetaData(version), granted) => {
                let listed = self.list_meta_data(pod, version, granted.is_some(), deadline);
                Box::pin(listed).await
            }
            (Asked::Iam, Some(_)) => document(documents::iam(), pod.created),
            (Asked::RoleList | Asked::IamInfo | Asked::Role(_), Some(grant)) => {
                self.read_role(pod, asked, &worked, grant, deadline).await
            }
            _ => page(StatusCode::NOT_FOUND),
        }
    }
}

fn document_of(asked: &Asked<'_>) -> Document {
    match asked {
        Asked::Token => Document::Token,
        Asked::RoleList => Document::RoleList,
        Asked::Role(_) => Document::Credentials,
        Asked::IamInfo => Document::IamInfo,
        Asked::Node(..) => Document::Node,
        Asked::Versions | Asked::Version | Asked::MetaData(_) | Asked::Iam => Document::Other,
    }
}

fn concerns_role(asked: &Asked<'_>) -> bool {
    matches!(asked, Asked::Iam | Asked::RoleList | Asked::Role(_) | Asked::IamInfo)
}

#[cfg(test)]
mod tests;
