//! The sources of credentials behind one: the request says which.

use super::aws::Aws;
use super::eks_pod_identity::PodIdentity;
use super::sts::Sts;
use super::tokens::Tokens;
use super::trials::Said;
use super::web_identity::WebIdentity;
use super::{Credentials, FetchError, SessionRequest, Source};

use crate::clock::Clock;

/// Every source that the agent has. Which of them are used is decided where rules are: a request for
/// a source that `--sources` leaves out is never made.
pub struct Sources {
    /// AssumeRole with the agent's own identity.
    pub sts: Sts,
    /// `AssumeRoleWithWebIdentity` with the pod's token.
    pub web_identity: WebIdentity,
    /// `AssumeRoleForPodIdentity` with the pod's token.
    pub pod_identity: PodIdentity,
}

impl Sources {
    /// All of them, by the same way to AWS.
    #[must_use]
    pub fn new(aws: &Aws, tokens: &Tokens, clock: &Clock) -> Self {
        Self {
            sts: Sts::new(aws.clone(), clock.clone()),
            web_identity: WebIdentity::new(aws.clone(), tokens.clone(), clock.clone()),
            pod_identity: PodIdentity::new(aws, tokens.clone(), clock.clone()),
        }
    }
}

impl Sources {
    /// Asks for a session that nobody gets, and where it is refused with session tags, once more without.
    pub async fn try_out(&self, request: &SessionRequest) -> Said {
        match request {
            SessionRequest::AssumeRole(request) => self.sts.try_out(request).await,
            other => Said { as_it_is: self.fetch(other).await.map(drop), untagged: None },
        }
    }
}

impl Source for Sources {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        match request {
            SessionRequest::AssumeRole(request) => self.sts.assume_role(request).await,
            SessionRequest::WebIdentity(request) => self.web_identity.fetch(request).await,
            SessionRequest::PodIdentity(request) => self.pod_identity.fetch(request).await,
        }
    }
}
