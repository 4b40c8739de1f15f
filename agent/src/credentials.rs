//! The session: credentials of a role, named and tagged for the pod that has it.

pub mod advice;
pub mod aws;
pub mod broker;
mod classify;
pub mod eks_pod_identity;
#[cfg(test)]
mod fake_aws;
mod http_client;
mod learned;
pub mod plan;
pub mod prefetch;
pub mod session;
pub mod sources;
pub mod sts;
pub mod token_file;
pub mod token_request;
pub mod tokens;
pub mod trials;
pub mod trust;
pub mod web_identity;

use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;

use crate::roles::RoleArn;

pub use self::broker::Broker;
pub use self::plan::{PlanError, SessionPlan};
pub use self::session::{AssumeRoleRequest, SessionRequest};

/// Temporary security credentials (AWS STS API Reference, "Credentials").
///
/// The secret parts are zeroised when dropped; copies inside of the AWS SDK are out of our reach.
pub struct Credentials {
    /// The role that they are of.
    pub role: RoleArn,
    /// `AccessKeyId`; not a secret.
    pub access_key_id: Box<str>,
    /// `SecretAccessKey`
    pub secret_access_key: SecretString,
    /// `SessionToken`
    pub session_token: SecretString,
    /// When they end, by STS's clock.
    pub expiration: SystemTime,
    /// When they were got, by this node's clock.
    pub obtained: SystemTime,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// Where credentials come from.
pub trait Source: Send + Sync + 'static {
    /// Asks once, within a deadline of its own and without retries: the broker retries, within the
    /// node's rate.
    fn fetch(
        &self,
        request: &SessionRequest,
    ) -> impl Future<Output = Result<Credentials, FetchError>> + Send;
}

/// Why there are no credentials. The text is for the operator: it names the role and what AWS
/// answered, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// AWS refused this request and will refuse it again until somebody changes something.
    #[error("{code}: {message}")]
    Refused {
        /// AWS's error code, such as `AccessDenied`.
        code: Arc<str>,
        /// AWS's message.
        message: Arc<str>,
    },
    /// The account has STS switched off in this region.
    #[error(
        "STS is not active in this region for the role's account ({message}); activate it in IAM's account settings, or set AWS_REGION to a region where it is"
    )]
    RegionDisabled {
        /// AWS's message.
        message: Arc<str>,
    },
    /// The agent's own credentials are not accepted: nothing is wrong with the pod's request.
    #[error(
        "this node's own AWS credentials were not accepted ({code}: {message}); renew them, or check the node's role"
    )]
    NodeCredentials {
        /// AWS's error code, such as `ExpiredToken`.
        code: Arc<str>,
        /// AWS's message.
        message: Arc<str>,
    },
    /// The node's clock and AWS's are too far apart for a signature.
    #[error(
        "this node's clock is wrong ({code}: {message}); AWS accepts 5 minutes of difference: check its time synchronisation"
    )]
    ClockSkew {
        /// AWS's error code, such as `RequestExpired`.
        code: Arc<str>,
        /// AWS's message.
        message: Arc<str>,
    },
    /// The pod's own ServiceAccount token is not there yet, or is not accepted; kubelet renews it.
    #[error("the pod's ServiceAccount token cannot be used: {0}")]
    PodToken(Arc<str>),
    /// AWS wants fewer requests.
    #[error("AWS is throttling ({code}: {message})")]
    Throttled {
        /// AWS's error code, such as `Throttling`.
        code: Arc<str>,
        /// AWS's message.
        message: Arc<str>,
    },
    /// AWS is failing, slow or out of reach; it may answer the next time.
    #[error("AWS did not answer: {0}")]
    Unavailable(Arc<str>),
    /// AWS answered something that is no credentials.
    #[error("AWS's answer cannot be used: {0}")]
    Unusable(&'static str),
}

impl FetchError {
    /// AWS's error code of a refusal that asking again would only repeat; none where the failure may
    /// pass by itself.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::RegionDisabled { .. } => Some("RegionDisabledException"),
            Self::NodeCredentials { .. }
            | Self::ClockSkew { .. }
            | Self::PodToken(_)
            | Self::Throttled { .. }
            | Self::Unavailable(_)
            | Self::Unusable(_) => None,
        }
    }
}
