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

use super::{Handler, told};

impl Handler {
    /// A document of the role that `pod` was granted.
    pub(super) async fn read_role(
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
                Ok((_, credentials)) => credentials.role.clone(),
                Err(answer) => return answer,
            },
        };
        match asked {
            Asked::RoleList => document(documents::role_list(role.name()), pod.created),
            Asked::IamInfo => self.profile(pod, &role),
            Asked::Role(name) if is_called(&role, name) => {
                match self.session(pod, grant, deadline).await {
                    Ok((request, credentials)) => {
                        told::issued(pod, grant, &request, &credentials);
                        self.credentials_document(&role, &credentials)
                    }
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
    pub(super) async fn session(
        &self,
        pod: &Pod,
        grant: &Grant,
        deadline: Instant,
    ) -> Result<(SessionRequest, Arc<Credentials>), Answer> {
        let request = self
            .plan
            .request(pod, grant)
            .map_err(|error| self.session_refused(pod, grant, &error))?;
        match self.broker.get(pod.uid.clone(), request.clone(), deadline).await {
            Ok(Ok(credentials)) => Ok((request, credentials)),
            Ok(Err(error)) => Err(self.no_credentials(pod, grant, &request, &error)),
            Err(late @ (NoAnswer::NotYet | NoAnswer::Dropped)) => {
                Err(unavailable(&late.to_string(), self.clock.now()))
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

    pub(super) fn unusable(&self, role: &RoleArn, error: &documents::Unprintable) -> Answer {
        error!(%role, %error, "no document can be made");
        unavailable("no document can be made of what AWS answered", self.clock.now())
    }
}

/// Clients ask for the name that the list gave them, or for what the annotation said.
fn is_called(role: &RoleArn, name: &str) -> bool {
    [role.name(), role.path_and_name(), role.as_str()].contains(&name)
}
