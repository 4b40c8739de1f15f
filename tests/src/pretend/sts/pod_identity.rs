//! EKS's `AssumeRoleForPodIdentity` (Amazon EKS API Reference).

use std::collections::HashMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::session::Caller;
use crate::pretend::serve::Outcome;
use crate::pretend::service_account::{Claims, POD_IDENTITY};

/// Seconds that a session lasts.
pub const DURATION: u32 = 6 * 3600;

/// Body of `PUT /_pretend/association`: the role of a ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// Name of the cluster.
    pub cluster: String,
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Its name.
    pub service_account: String,
    /// ARN of the role.
    pub role: String,
}

/// The associations of all clusters.
#[derive(Debug, Default)]
pub struct Associations(HashMap<[String; 3], String>);

/// An error, in EKS's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// `x-amzn-errortype`.
    pub code: &'static str,
    /// `message`.
    pub message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, code, message: message.into() }
    }

    /// What STS's own checks refused, of the signature.
    #[must_use]
    pub fn of_signature(refusal: &super::answer::Refusal) -> Self {
        Self::new(403, "UnrecognizedClientException", refusal.message.clone())
    }

    /// The answer.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let body = json!({ "message": self.message }).to_string();
        let mut outcome = Outcome::answer(self.status, "application/json", body);
        if let Outcome::Answer(response) = &mut outcome {
            let value = http::HeaderValue::from_static(self.code);
            response.headers_mut().insert("x-amzn-errortype", value);
        }
        outcome
    }
}

/// The cluster of the path `/clusters/NAME/assume-role-for-pod-identity`.
#[must_use]
pub fn cluster(path: &str) -> Option<&str> {
    path.strip_prefix("/clusters/")?.strip_suffix("/assume-role-for-pod-identity")
}

impl Associations {
    /// Sets the role of a ServiceAccount.
    pub fn put(&mut self, association: Association) {
        let Association { cluster, namespace, service_account, role } = association;
        self.0.insert([cluster, namespace, service_account], role);
    }

    /// Whose token the body has, and the role that is associated with them.
    pub fn find(&self, cluster: &str, body: &[u8]) -> Result<(Claims, String), Refusal> {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let token = body.get("token").and_then(Value::as_str).unwrap_or_default();
        let claims = Claims::verify(token)
            .map_err(|error| Refusal::new(400, "InvalidTokenException", error.to_string()))?;
        if claims.has_expired() {
            return Err(Refusal::new(400, "ExpiredTokenException", "The token has expired"));
        }
        if !claims.is_for(POD_IDENTITY) {
            return Err(Refusal::new(400, "InvalidTokenException", "Invalid token audience"));
        }
        let (namespace, account) = claims.service_account().unwrap_or_default();
        let key = [cluster, namespace, account].map(str::to_owned);
        let role = self.0.get(&key).cloned().ok_or_else(|| {
            let message = format!("No associations found for {namespace}/{account} in {cluster}");
            Refusal::new(404, "ResourceNotFoundException", message)
        })?;
        Ok((claims, role))
    }
}

/// The answer with a session.
#[must_use]
pub fn success(claims: &Claims, session: &Caller) -> Outcome {
    let (namespace, account) = claims.service_account().unwrap_or_default();
    let body = json!({
        "subject": { "namespace": namespace, "serviceAccount": account },
        "audience": POD_IDENTITY,
        "podIdentityAssociation": {
            "associationArn": "arn:aws:eks:us-west-2:111122223333:podidentityassociation/prod/a-1",
            "associationId": "a-1",
        },
        "assumedRoleUser": { "arn": session.arn, "assumeRoleId": session.user_id },
        "credentials": {
            "accessKeyId": session.keys.id,
            "secretAccessKey": session.keys.secret,
            "sessionToken": session.keys.token,
            "expiration": session.expires.map(jiff::Timestamp::as_second),
        },
    });
    Outcome::answer(StatusCode::OK, "application/json", body.to_string())
}
