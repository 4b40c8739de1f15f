//! The documents of the pod's own role.

use std::sync::Arc;

use http::StatusCode;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use tracing::error;

use crate::callers::pods::Pod;
use crate::credentials::broker::NoAnswer;
use crate::credentials::{Credentials, SessionRequest};
use crate::metadata::documents;
use crate::metadata::protocol::Asked;
use crate::metadata::response::{Answer, document, page, unavailable};
use crate::roles::{Grant, RoleArn};

use super::worked::{Made, Worked};
use super::{Handler, told};

impl Handler {
    /// A document of the role that `pod` was granted.
    pub(super) async fn read_role(
        &self,
        pod: &Pod,
        asked: &Asked<'_>,
        worked: &Worked,
        grant: &Grant,
        deadline: Instant,
    ) -> Answer {
        // Of EKS's own associations the role is known from the session alone.
        let of_session = match grant.role() {
            Some(_) => None,
            None => match self.session(pod, worked, grant, deadline).await {
                Ok((_, credentials)) => Some(credentials),
                Err(answer) => return answer,
            },
        };
        let of_session = of_session.as_ref().map(|credentials| &credentials.role);
        let Some(role) = grant.role().or(of_session) else { return page(StatusCode::NOT_FOUND) };
        match asked {
            Asked::RoleList => document(documents::role_list(role.name()), pod.created),
            Asked::IamInfo => self.profile(pod, role),
            Asked::Role(name) if is_called(role, name) => {
                match self.session(pod, worked, grant, deadline).await {
                    Ok((request, credentials)) => {
                        let made = worked.document.of(&credentials, credentials_document);
                        self.issue(pod, grant, request, &credentials, made)
                    }
                    Err(answer) => answer,
                }
            }
            _ => page(StatusCode::NOT_FOUND),
        }
    }

    /// Hands a document of `credentials` out, and tells of it in the log.
    pub(super) fn issue(
        &self,
        pod: &Pod,
        grant: &Grant,
        request: &SessionRequest,
        credentials: &Credentials,
        made: Result<Arc<Made>, documents::Unprintable>,
    ) -> Answer {
        match made {
            Ok(made) => {
                if let Some(held_back) = made.told.pass() {
                    told::issued(pod, grant, request, credentials, held_back);
                }
                made.answer.clone()
            }
            Err(error) => self.unusable(&credentials.role, &error),
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
    pub(super) async fn session<'w>(
        &self,
        pod: &Pod,
        worked: &'w Worked,
        grant: &Grant,
        deadline: Instant,
    ) -> Result<(&'w SessionRequest, Arc<Credentials>), Answer> {
        let request = worked
            .request(&self.plan, grant)
            .map_err(|error| self.session_refused(pod, grant, error))?;
        match self.broker.get(&pod.uid, request, deadline).await {
            Ok(Ok(credentials)) => Ok((request, credentials)),
            Ok(Err(error)) => Err(self.no_credentials(pod, grant, request, &error)),
            Err(late @ (NoAnswer::NotYet | NoAnswer::Dropped)) => {
                Err(unavailable(&late.to_string(), self.clock.now()))
            }
        }
    }

    fn unusable(&self, role: &RoleArn, error: &documents::Unprintable) -> Answer {
        error!(%role, %error, "no document can be made");
        unavailable("no document can be made of what AWS answered", self.clock.now())
    }
}

fn credentials_document(credentials: &Credentials) -> Result<Answer, documents::Unprintable> {
    let body = documents::credentials(&documents::Credentials {
        access_key_id: &credentials.access_key_id,
        secret_access_key: credentials.secret_access_key.expose_secret(),
        session_token: credentials.session_token.expose_secret(),
        last_updated: credentials.obtained,
        expiration: credentials.expiration,
    })?;
    Ok(document(body, credentials.obtained))
}

/// Clients ask for the name that the list gave them, or for what the annotation said.
fn is_called(role: &RoleArn, name: &str) -> bool {
    [role.name(), role.path_and_name(), role.as_str()].contains(&name)
}
