//! `AssumeRoleWithWebIdentity` with the pod's own token: IAM roles for service accounts. The call is not
//! signed, so this node needs no right of its own (AWS STS API Reference, `AssumeRoleWithWebIdentity`).

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sts::Client;
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;

use super::aws::Aws;
use super::classify::classify;
use super::learned::{HOUR, Learned};
use super::session::WebIdentityRequest;
use super::sts::{is_too_long, read, seconds};
use super::tokens::Tokens;
use super::{Credentials, FetchError};

/// The source `web-identity`.
pub struct WebIdentity {
    aws: Aws,
    client: Client,
    clock: Clock,
    tokens: Tokens,
    pub(super) learned: Arc<Learned>,
}

impl WebIdentity {
    /// STS as `aws` reaches it, with the tokens that `tokens` has.
    #[must_use]
    pub fn new(aws: Aws, tokens: Tokens, clock: Clock) -> Self {
        let client = Client::new(aws.config());
        Self { aws, client, clock, tokens, learned: Arc::default() }
    }

    /// Asks for one session.
    ///
    /// # Errors
    /// Where the pod has no good token, or STS refuses, does not answer, or answers what cannot be
    /// used.
    pub async fn fetch(&self, request: &WebIdentityRequest) -> Result<Credentials, FetchError> {
        let WebIdentityRequest { pod, role, duration, .. } = request;
        self.aws.check_partition(role)?;
        let token = self.tokens.of(pod).await?;
        let duration = self.learned.duration(role, *duration);
        match self.send(request, &token, duration).await {
            Err(error) if duration > HOUR && is_too_long(&error) => {
                self.learned.note_hour(role, &error);
                self.send(request, &token, HOUR).await
            }
            other => other,
        }
    }

    async fn send(
        &self,
        request: &WebIdentityRequest,
        token: &SecretString,
        duration: Duration,
    ) -> Result<Credentials, FetchError> {
        let WebIdentityRequest { role, name, .. } = request;
        let sent = self
            .client
            .assume_role_with_web_identity()
            .role_arn(role.as_str())
            .role_session_name(&**name)
            .web_identity_token(token.expose_secret())
            .duration_seconds(seconds(duration))
            .send();
        let answer = sent.await.map_err(|error| classify(&error))?;
        read(answer.credentials, role, self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::callers::pods::{PodUid, ProjectedToken};
    use crate::credentials::fake_aws::{FakeAws, error, session};
    use crate::credentials::session::TokenOwner;
    use crate::credentials::token_file::lay_token;
    use crate::credentials::tokens::{Tokens, unsigned};

    fn request() -> WebIdentityRequest {
        let mounted = ProjectedToken {
            volume: "aws-iam-token".into(),
            path: "token".into(),
            audience: Some("sts.amazonaws.com".into()),
        };
        WebIdentityRequest {
            pod: TokenOwner {
                uid: PodUid::new("uid-1"),
                namespace: "shop".into(),
                name: "web-0".into(),
                service_account: "cart".into(),
                audience: "sts.amazonaws.com".into(),
                mounted: Some(mounted),
            },
            role: "arn:aws:iam::123456789012:role/web".parse().unwrap(),
            name: "shop@web-0".into(),
            duration: Duration::from_hours(2),
        }
    }

    #[tokio::test]
    async fn the_pods_own_token_is_sent_unsigned() {
        let (aws, kubelet) = (FakeAws::default(), tempfile::tempdir().unwrap());
        let clock = Clock::starting_at(UNIX_EPOCH);
        let tokens =
            Tokens { kubelet: kubelet.path().to_owned(), requests: None, clock: clock.clone() };
        let source = WebIdentity::new(aws.aws("us-west-2"), tokens, clock);

        let absent = source.fetch(&request()).await.unwrap_err();
        assert!(matches!(absent, FetchError::PodToken(_)), "{absent}");
        let of_another = unsigned("system:serviceaccount:shop:other", "sts.amazonaws.com", 7200);
        lay_token(kubelet.path(), "uid-1", "aws-iam-token", &of_another);
        let another = source.fetch(&request()).await.unwrap_err();
        assert!(matches!(another, FetchError::PodToken(_)), "{another}");
        assert_eq!(aws.asked().len(), 0);

        let own = unsigned("system:serviceaccount:shop:cart", "sts.amazonaws.com", 7200);
        lay_token(kubelet.path(), "uid-1", "aws-iam-token", &own);
        let too_long = "The requested DurationSeconds exceeds the MaxSessionDuration";
        aws.answer(400, error("ValidationError", too_long));
        aws.answer(200, session("AssumeRoleWithWebIdentity", "ASIA1"));
        let credentials = source.fetch(&request()).await.unwrap();
        assert_eq!(&*credentials.access_key_id, "ASIA1");
        let asked = aws.asked();
        for (asked, seconds) in asked.iter().zip(["7200", "3600"]) {
            assert_eq!(asked.signature, None);
            let form = asked.form();
            assert_eq!(form["Action"], "AssumeRoleWithWebIdentity");
            assert_eq!(form["WebIdentityToken"], own);
            assert_eq!(form["RoleSessionName"], "shop@web-0");
            assert_eq!(form["DurationSeconds"], seconds);
        }
    }
}
