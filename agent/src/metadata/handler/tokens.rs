//! IMDSv2 tokens: given to whoever asks, and held against the pod that comes with one.

use std::net::IpAddr;
use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use tracing::error;

use crate::callers::Caller;
use crate::callers::pods::Pod;
use crate::metadata::protocol::{TOKEN_HEADER, TTL_HEADER, Ttl};
use crate::metadata::response::{Answer, page, plain, with_number};
use crate::metadata::token::{Binding, Valid};

use super::Handler;

/// How far the API server's clock may be ahead of the node's.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a request has of tokens; one that has a bad one is refused.
pub(super) enum Token {
    Absent,
    Valid(Valid),
}

impl Handler {
    /// Whether `token` was given by this node's podrole to whoever has `address` and is no known pod.
    #[must_use]
    pub fn gave(&self, token: &str, address: IpAddr) -> bool {
        let binding = Binding::Address(address);
        self.keys.check(token.as_bytes(), &binding, self.clock.now()).is_ok()
    }

    /// Waits for nothing: SDKs that miss this answer once do without tokens for ever.
    pub(super) fn issue_token(&self, caller: &Caller, headers: &HeaderMap) -> Answer {
        if headers.contains_key(FORWARDED_FOR) {
            return page(StatusCode::FORBIDDEN);
        }
        let Ok(ttl) = Ttl::from_headers(headers) else {
            return page(StatusCode::BAD_REQUEST);
        };
        let pod = self.callers.find(caller).ok();
        let known = || pod.as_deref().map_or(Binding::Address(caller.address), of_pod);
        let binding = of_cgroup(caller).unwrap_or_else(known);
        match self.keys.issue(&binding, ttl, self.clock.now()) {
            Ok(token) => with_number(plain(token), TTL_HEADER, ttl.as_secs().into()),
            Err(error) => {
                error!(%error, "no token");
                page(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// `None` where a token is there and is not this pod's.
    pub(super) fn check_token(
        &self,
        caller: &Caller,
        pod: &Pod,
        headers: &HeaderMap,
    ) -> Option<Token> {
        let mut values = headers.get_all(TOKEN_HEADER).iter();
        let Some(token) = values.next() else { return Some(Token::Absent) };
        if values.any(|other| other != token) {
            return None;
        }
        let valid = match of_cgroup(caller) {
            Some(binding) => self.valid_for(token, &binding),
            None => self
                .valid_for(token, &of_pod(pod))
                .or_else(|| self.valid_for_address(token, caller.address, pod)),
        };
        valid.map(Token::Valid)
    }

    fn valid_for(&self, token: &HeaderValue, binding: &Binding<'_>) -> Option<Valid> {
        self.keys.check(token.as_bytes(), binding, self.clock.now()).ok()
    }

    /// A token that was given before the pod was known is bound to its address. It is not for a pod
    /// that has the address now and was made later.
    fn valid_for_address(&self, token: &HeaderValue, peer: IpAddr, pod: &Pod) -> Option<Valid> {
        let valid = self.valid_for(token, &Binding::Address(peer))?;
        (pod.created <= valid.issued_at + CLOCK_SKEW).then_some(valid)
    }
}

/// By what the kernel said: known at once, whatever the API server has told yet.
fn of_cgroup(caller: &Caller) -> Option<Binding<'_>> {
    caller.origin.key().map(|key| Binding::Pod(key.as_str()))
}

fn of_pod(pod: &Pod) -> Binding<'_> {
    Binding::Pod(pod.uid.as_str())
}
