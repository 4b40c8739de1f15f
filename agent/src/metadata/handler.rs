//! From a request to an answer: who asks, what for, may they have it. Errors of all rooms become
//! statuses here and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use tracing::{debug, error};

use crate::callers::pods::Pod;
use crate::callers::{Caller, Callers, Unidentified};
use crate::clock::Clock;
use crate::credentials::broker::NoAnswer;
use crate::credentials::{Broker, Credentials, FetchError, SessionPlan};
use crate::operate::metrics::{Document, Requests};
use crate::roles::{Decision, Grant, RoleArn, Roles};

use super::documents;
use super::host::is_for_metadata;
use super::protocol::{Asked, Settled, TTL_HEADER, Ttl, classify};
use super::response::{Answer, allow, document, page, plain, refused, unavailable, with_number};
use super::token::{Binding, Keys, Valid};

/// SDKs give up after a second; what is not known by now is answered with "ask again".
const BUDGET: Duration = Duration::from_millis(900);
/// How far the API server's clock may be ahead of the node's.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
}

impl Handler {
    /// Answers one request of `caller`.
    pub async fn answer(&self, caller: Caller, request: &Parts) -> Answer {
        let asked = classify(&request.method, &request.uri);
        let document = asked.as_ref().map_or(Document::Other, document_of);
        let answer = if caller.socket.is_none() || !is_for_metadata(request, &self.addresses) {
            page(StatusCode::FORBIDDEN)
        } else {
            self.answer_pod(caller.address, &request.headers, asked).await
        };
        self.requests.count(document, answer.status());
        let (method, path) = (&request.method, request.uri.path());
        let (peer, status) = (caller.address, answer.status().as_u16());
        debug!(%peer, socket = ?caller.socket, %method, path, status, "answered");
        answer
    }

    /// Answers a connection that the kernel saw leave a pod's own socket.
    async fn answer_pod(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        asked: Result<Asked, Settled>,
    ) -> Answer {
        match asked {
            Ok(Asked::Token) => self.issue_token(peer, headers),
            Ok(asked) => self.read(peer, headers, Some(&asked)).await,
            Err(Settled::NotFound) => self.read(peer, headers, None).await,
            Err(Settled::MethodNotAllowed(methods)) => {
                allow(StatusCode::METHOD_NOT_ALLOWED, methods.as_str())
            }
            Err(Settled::Options(methods)) => allow(StatusCode::OK, methods.as_str()),
            Err(Settled::Forbidden) => page(StatusCode::FORBIDDEN),
            Err(Settled::BadRequest) => page(StatusCode::BAD_REQUEST),
        }
    }

    /// Whether `token` was given by this node's podrole to whoever has `address` and is no known pod.
    #[must_use]
    pub fn gave(&self, token: &str, address: IpAddr) -> bool {
        let binding = Binding::Address(address);
        self.keys.check(token.as_bytes(), &binding, self.clock.now()).is_ok()
    }

    /// Waits for nothing: SDKs that miss this answer once do without tokens for ever.
    fn issue_token(&self, peer: IpAddr, headers: &HeaderMap) -> Answer {
        if headers.contains_key(FORWARDED_FOR) {
            return page(StatusCode::FORBIDDEN);
        }
        let Ok(ttl) = Ttl::from_headers(headers) else {
            return page(StatusCode::BAD_REQUEST);
        };
        let pod = self.callers.find(peer).ok();
        let binding = pod.as_deref().map_or(Binding::Address(peer), of_pod);
        match self.keys.issue(&binding, ttl, self.clock.now()) {
            Ok(token) => with_number(plain(token), TTL_HEADER, ttl.as_secs().into()),
            Err(error) => {
                error!(%error, "no token");
                page(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// A document, or (`None`) a path that has none: a bad token is told before either.
    async fn read(&self, peer: IpAddr, headers: &HeaderMap, asked: Option<&Asked>) -> Answer {
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
        let pod = match self.callers.identify(peer, deadline).await {
            Ok(pod) => pod,
            Err(Unidentified::Node) => return page(StatusCode::NOT_FOUND),
            Err(unknown) => return unavailable(&unknown.to_string(), self.clock.now()),
        };
        let Some(valid) = self.check_token(peer, &pod, headers) else {
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

    async fn read_as(&self, pod: &Arc<Pod>, asked: &Asked, deadline: Instant) -> Answer {
        let granted = match self.roles.decided(pod, deadline).await {
            Decision::Granted(grant) => Some(grant),
            Decision::Refused(refusal) if concerns_role(asked) => {
                return refused("RoleRefused", &refusal.to_string(), self.clock.now());
            }
            Decision::NotYet(what) if concerns_role(asked) => {
                return unavailable(what, self.clock.now());
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

    /// A document of the role that `pod` was granted.
    async fn read_role(
        &self,
        pod: &Pod,
        asked: &Asked,
        grant: &Grant,
        deadline: Instant,
    ) -> Answer {
        // Of EKS's own associations the role is known from the session alone.
        let role = match grant.role() {
            Some(role) => role.clone(),
            None => match self.session(pod, grant, deadline).await {
                Ok(credentials) => credentials.role.clone(),
                Err(answer) => return answer,
            },
        };
        match asked {
            Asked::RoleList => document(documents::role_list(role.name()), pod.created),
            Asked::IamInfo => self.profile(pod, &role),
            Asked::Role(name) if is_called(&role, name) => {
                match self.session(pod, grant, deadline).await {
                    Ok(credentials) => self.credentials_document(&role, &credentials),
                    Err(answer) => answer,
                }
            }
            _ => page(StatusCode::NOT_FOUND),
        }
    }

    fn profile(&self, pod: &Pod, role: &RoleArn) -> Answer {
        let info = documents::iam_info(&documents::Profile {
            partition: role.partition(),
            account_id: role.account(),
            role_name: role.name(),
            role_arn: role.as_str(),
            last_updated: pod.created,
        });
        match info {
            Ok(body) => document(body, pod.created),
            Err(error) => self.unusable(role, &error),
        }
    }

    /// The session that `pod` was granted, or the answer that says why there is none.
    async fn session(
        &self,
        pod: &Pod,
        grant: &Grant,
        deadline: Instant,
    ) -> Result<Arc<Credentials>, Answer> {
        let now = || self.clock.now();
        let request = self
            .plan
            .request(pod, grant)
            .map_err(|error| refused("SessionRefused", &error.to_string(), now()))?;
        let asked_for = request.to_string();
        match self.broker.get(pod.uid.clone(), request, deadline).await {
            Ok(Ok(credentials)) => Ok(credentials),
            Ok(Err(FetchError::Refused { code, message: _ })) => {
                // AWS's own message names the node's identity, which is none of the pod's business.
                let message = format!(
                    "AWS refused {asked_for} to pod {pod} ({code}); the log of podrole on this node has its reason"
                );
                Err(refused(&code, &message, now()))
            }
            Ok(Err(
                FetchError::Node { .. } | FetchError::Unavailable(_) | FetchError::Unusable(_),
            )) => {
                let message = format!(
                    "AWS gave no credentials for {asked_for} now; the log of podrole on this node has its reason"
                );
                Err(unavailable(&message, now()))
            }
            Err(late @ (NoAnswer::NotYet | NoAnswer::Dropped)) => {
                Err(unavailable(&late.to_string(), now()))
            }
        }
    }

    fn credentials_document(&self, role: &RoleArn, credentials: &Credentials) -> Answer {
        let body = documents::credentials(&documents::Credentials {
            access_key_id: &credentials.access_key_id,
            secret_access_key: credentials.secret_access_key.expose_secret(),
            session_token: credentials.session_token.expose_secret(),
            last_updated: credentials.obtained,
            expiration: credentials.expiration,
        });
        match body {
            Ok(body) => document(body, credentials.obtained),
            Err(error) => self.unusable(role, &error),
        }
    }

    fn unusable(&self, role: &RoleArn, error: &documents::Unprintable) -> Answer {
        error!(%role, %error, "no document can be made");
        unavailable("no document can be made of what AWS answered", self.clock.now())
    }

    /// `None` where a token is there and is not this pod's.
    fn check_token(&self, peer: IpAddr, pod: &Pod, headers: &HeaderMap) -> Option<Token> {
        let mut values = headers.get_all(TOKEN_HEADER).iter();
        let Some(token) = values.next() else { return Some(Token::Absent) };
        if values.any(|other| other != token) {
            return None;
        }
        self.valid_for_pod(token, pod)
            .or_else(|| self.valid_for_address(token, peer, pod))
            .map(Token::Valid)
    }

    fn valid_for_pod(&self, token: &HeaderValue, pod: &Pod) -> Option<Valid> {
        self.keys.check(token.as_bytes(), &of_pod(pod), self.clock.now()).ok()
    }

    /// A token that was given before the pod was known is bound to its address. It is not for a pod
    /// that has the address now and was made later.
    fn valid_for_address(&self, token: &HeaderValue, peer: IpAddr, pod: &Pod) -> Option<Valid> {
        let binding = Binding::Address(peer);
        let valid = self.keys.check(token.as_bytes(), &binding, self.clock.now()).ok()?;
        (pod.created <= valid.issued_at + CLOCK_SKEW).then_some(valid)
    }
}

enum Token {
    Absent,
    Valid(Valid),
}

fn of_pod(pod: &Pod) -> Binding<'_> {
    Binding::Pod(pod.uid.as_str())
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

/// Clients ask for the name that the list gave them, or for what the annotation said.
fn is_called(role: &RoleArn, name: &str) -> bool {
    [role.name(), role.path_and_name(), role.as_str()].contains(&name)
}

#[cfg(test)]
mod tests;
