//! The sources of credentials behind one: the request says which.

use super::sts::Sts;
use super::{Credentials, FetchError, SessionRequest, Source};

/// Every source that the agent has.
pub struct Sources {
    /// AssumeRole with the agent's own identity.
    pub sts: Sts,
}

impl Source for Sources {
    async fn fetch(&self, request: &SessionRequest) -> Result<Credentials, FetchError> {
        match request {
            SessionRequest::AssumeRole(request) => self.sts.assume_role(request).await,
            SessionRequest::WebIdentity(_) | SessionRequest::PodIdentity(_) => {
                Err(FetchError::Unusable("this source is not there"))
            }
        }
    }
}
