//! Container credentials: what EKS Pod Identity's agent answers, for SDKs that ask it, from the very same
//! sessions (Amazon EKS User Guide, "EKS Pod Identity"; AWS SDKs and Tools Reference Guide, "Container
//! credential provider").
//!
//! Who asks is told by the kernel: the token that such an SDK sends proves nothing here. Where a token is
//! demanded of the metadata service, so that nobody can have a pod fetch its credentials by a mere URL,
//! some `Authorization` is demanded here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::tokens::FORWARDED_FOR;
use super::{BUDGET, Handler};
use crate::callers::Caller;
use crate::callers::pods::Pod;
use crate::credentials::Credentials;
use crate::metadata::documents;
use crate::metadata::protocol::Allow;
use crate::metadata::response::{Answer, allow, json, page, unavailable};
use crate::metadata::stricter::ImdsV1;
use crate::roles::Decision;

/// ECS's address, and those of EKS Pod Identity's agent: by these a request may name it.
pub(super) const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23)),
];
/// The one path there.
const PATH: &str = "/v1/credentials";

/// Whether this is the one thing that is asked for there.
pub(super) fn is_credentials(request: &Parts) -> bool {
    request.uri.path() == PATH
}

impl Handler {
    /// Answers a request for one of [`ADDRESSES`].
    pub(super) async fn answer_container(&self, caller: &Caller, request: &Parts) -> Answer {
        if !is_credentials(request) {
            return page(StatusCode::NOT_FOUND);
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return allow(StatusCode::METHOD_NOT_ALLOWED, Allow::Document.as_str());
        }
        let deadline = Instant::now() + BUDGET;
        let pod = match self.callers.identify(caller, deadline).await {
            Ok(pod) => pod,
            Err(unidentified) => return self.answer_to_nobody(unidentified),
        };
        if let Some(refusal) = self.refuse_sender(&pod, &request.headers, deadline).await {
            return refusal;
        }
        let worked = self.worked_out(&pod, deadline).await;
        let grant = match &worked.decision {
            Decision::Granted(grant) => grant,
            Decision::Refused(refusal) => return self.role_refused(&pod, refusal),
            Decision::NotYet(what) => return unavailable(&what.to_string(), self.clock.now()),
            Decision::None => return page(StatusCode::NOT_FOUND),
        };
        match self.session(&pod, &worked, grant, deadline).await {
            Ok((asked, credentials)) => {
                let made = worked.container.of(&credentials, container_document);
                self.issue(&pod, grant, asked, &credentials, made)
            }
            Err(answer) => answer,
        }
    }

    /// The refusal of what somebody may have sent through the pod.
    async fn refuse_sender(
        &self,
        pod: &Arc<Pod>,
        headers: &HeaderMap,
        deadline: Instant,
    ) -> Option<Answer> {
        if headers.contains_key(FORWARDED_FOR) {
            return Some(page(StatusCode::FORBIDDEN));
        }
        if headers.contains_key(AUTHORIZATION) {
            return None;
        }
        match self.imds_v1_of(pod, deadline).await {
            Ok(ImdsV1::Allow) => None,
            Ok(ImdsV1::Deny) => Some(page(StatusCode::UNAUTHORIZED)),
            Err(missing) => Some(unavailable(&missing.to_string(), self.clock.now())),
        }
    }
}

fn container_document(credentials: &Credentials) -> Result<Answer, documents::Unprintable> {
    let body = documents::container_credentials(&documents::ContainerCredentials {
        access_key_id: &credentials.access_key_id,
        secret_access_key: credentials.secret_access_key.expose_secret(),
        token: credentials.session_token.expose_secret(),
        account_id: credentials.role.account(),
        expiration: credentials.expiration,
    })?;
    Ok(json(body))
}
