//! `AssumeRoleForPodIdentity` with the pod's own token: EKS Pod Identity associations, for SDKs too old
//! to know that agent (Amazon EKS API Reference, `AssumeRoleForPodIdentity`).

use std::time::{Duration, SystemTime};

use aws_sdk_eksauth::Client;
use aws_sdk_eksauth::config::timeout::TimeoutConfig;
use aws_sdk_eksauth::operation::assume_role_for_pod_identity::AssumeRoleForPodIdentityOutput;
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;
use crate::roles::RoleArn;

use super::aws::Aws;
use super::classify::classify;
use super::session::PodIdentityRequest;
use super::tokens::Tokens;
use super::{Credentials, FetchError};

/// EKS's own agent gives up after 500 ms, and after a second in all. A proxy may need longer for the
/// second.
const CONNECT: Duration = Duration::from_millis(500);
/// For the whole of the call.
const DEADLINE: Duration = Duration::from_secs(2);

/// The source `eks-pod-identity`.
pub struct PodIdentity {
    client: Client,
    clock: Clock,
    tokens: Tokens,
}

impl PodIdentity {
    /// EKS as `aws` reaches it, with the tokens that `tokens` has.
    #[must_use]
    pub fn new(aws: &Aws, tokens: Tokens, clock: Clock) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(DEADLINE)
            .operation_attempt_timeout(DEADLINE)
            .build();
        let config = aws_sdk_eksauth::config::Builder::from(aws.config()).timeout_config(timeouts);
        Self { client: Client::from_conf(config.build()), clock, tokens }
    }

    /// Asks for one session. The role is the one that EKS names.
    ///
    /// # Errors
    /// Where the pod has no good token, or EKS refuses (it has no association for this
    /// ServiceAccount), does not answer, or answers what cannot be used.
    pub async fn fetch(&self, request: &PodIdentityRequest) -> Result<Credentials, FetchError> {
        let token = self.tokens.of(&request.pod).await?;
        let sent = self
            .client
            .assume_role_for_pod_identity()
            .cluster_name(&*request.cluster_name)
            .token(token.expose_secret())
            .send();
        let answer = sent.await.map_err(|error| classify(&error))?;
        check_subject(&answer, request)?;
        read(answer, self.clock.now())
    }
}

/// The credentials are of the ServiceAccount that was asked for, or they are not handed out.
fn check_subject(
    answer: &AssumeRoleForPodIdentityOutput,
    request: &PodIdentityRequest,
) -> Result<(), FetchError> {
    let subject = answer.subject.as_ref();
    let is_asked = subject.is_some_and(|subject| {
        *subject.namespace == *request.pod.namespace
            && *subject.service_account == *request.pod.service_account
    });
    if is_asked { Ok(()) } else { Err(FetchError::Unusable("it is for another ServiceAccount")) }
}

fn read(
    answer: AssumeRoleForPodIdentityOutput,
    obtained: SystemTime,
) -> Result<Credentials, FetchError> {
    let given = answer.credentials.ok_or(FetchError::Unusable("it has no credentials"))?;
    let user = answer.assumed_role_user.ok_or(FetchError::Unusable("it names no role"))?;
    let role = role_of(&user.arn).ok_or(FetchError::Unusable("what it names is no role"))?;
    let expiration = SystemTime::try_from(given.expiration)
        .map_err(|_| FetchError::Unusable("its expiration is no time"))?;
    let complete = [&given.access_key_id, &given.secret_access_key, &given.session_token];
    if complete.iter().any(|part| part.is_empty()) {
        return Err(FetchError::Unusable("a part of its credentials is empty"));
    }
    Ok(Credentials {
        role,
        access_key_id: given.access_key_id.into(),
        secret_access_key: SecretString::from(given.secret_access_key),
        session_token: SecretString::from(given.session_token),
        expiration,
        obtained,
    })
}

/// The role of `arn:PARTITION:sts::ACCOUNT:assumed-role/NAME/SESSION`, which leaves out the role's
/// path, or of the role's own ARN.
fn role_of(arn: &str) -> Option<RoleArn> {
    if let Ok(role) = arn.parse() {
        return Some(role);
    }
    let mut fields = arn.splitn(6, ':');
    let (scheme, partition, service) = (fields.next()?, fields.next()?, fields.next()?);
    let (region, account, resource) = (fields.next()?, fields.next()?, fields.next()?);
    let (name, _session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
    if (scheme, service, region) != ("arn", "sts", "") {
        return None;
    }
    format!("arn:{partition}:iam::{account}:role/{name}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::callers::pods::{PodUid, ProjectedToken};
    use crate::credentials::fake_aws::FakeAws;
    use crate::credentials::session::TokenOwner;
    use crate::credentials::token_file::lay_token;
    use crate::credentials::tokens::unsigned;

    const AUDIENCE: &str = "pods.eks.amazonaws.com";

    fn request() -> PodIdentityRequest {
        let mounted = ProjectedToken {
            volume: "eks-pod-identity-token".into(),
            path: "token".into(),
            audience: Some(AUDIENCE.into()),
        };
        PodIdentityRequest {
            pod: TokenOwner {
                uid: PodUid::new("uid-1"),
                namespace: "shop".into(),
                name: "web-0".into(),
                service_account: "cart".into(),
                audience: AUDIENCE.into(),
                mounted: Some(mounted),
            },
            cluster_name: "prod".into(),
        }
    }

    fn answer(service_account: &str) -> String {
        serde_json::json!({
            "subject": { "namespace": "shop", "serviceAccount": service_account },
            "audience": AUDIENCE,
            "podIdentityAssociation": { "associationArn": "arn", "associationId": "a-1" },
            "assumedRoleUser": {
                "arn": "arn:aws:sts::123456789012:assumed-role/web/eks-prod-web-0-1",
                "assumeRoleId": "AROA:eks-prod-web-0-1",
            },
            "credentials": {
                "accessKeyId": "ASIA1", "secretAccessKey": "secret",
                "sessionToken": "token", "expiration": 21600,
            },
        })
        .to_string()
    }

    #[tokio::test]
    async fn the_role_is_the_one_that_eks_names() {
        let (aws, kubelet) = (FakeAws::default(), tempfile::tempdir().unwrap());
        let own = unsigned("system:serviceaccount:shop:cart", AUDIENCE, 7200);
        lay_token(kubelet.path(), "uid-1", "eks-pod-identity-token", &own);
        let clock = Clock::starting_at(UNIX_EPOCH);
        let tokens =
            Tokens { kubelet: kubelet.path().to_owned(), requests: None, clock: clock.clone() };
        let source = PodIdentity::new(&aws.aws("us-west-2"), tokens, clock);

        aws.answer(200, answer("cart"));
        let credentials = source.fetch(&request()).await.unwrap();
        assert_eq!(credentials.role.as_str(), "arn:aws:iam::123456789012:role/web");
        assert_eq!(credentials.expiration, UNIX_EPOCH + Duration::from_hours(6));
        let asked = aws.asked();
        let path = "/clusters/prod/assume-role-for-pod-identity";
        assert_eq!(asked[0].url, format!("https://eks-auth.us-west-2.api.aws{path}"));
        assert!(asked[0].signature.as_ref().unwrap().contains("/us-west-2/eks-auth/"));
        assert!(asked[0].body.contains(&own), "{}", asked[0].body);

        aws.answer(200, answer("other"));
        let mixed_up = source.fetch(&request()).await.unwrap_err();
        assert!(matches!(mixed_up, FetchError::Unusable(_)), "{mixed_up}");

        let none = r#"{"__type":"ResourceNotFoundException","message":"No association"}"#;
        aws.answer(404, none);
        let refused = source.fetch(&request()).await.unwrap_err();
        assert_eq!(refused.refusal(), Some("ResourceNotFoundException"), "{refused}");
    }

    #[test]
    fn the_role_is_read_from_either_kind_of_arn() {
        let of = |arn| role_of(arn).map(|role| role.to_string());
        let role = "arn:aws-cn:iam::123456789012:role/team/web";
        assert_eq!(of(role).as_deref(), Some(role));
        assert_eq!(
            of("arn:aws:sts::123456789012:assumed-role/web/eks-prod-web-0-1234").as_deref(),
            Some("arn:aws:iam::123456789012:role/web")
        );
        for arn in [
            "",
            "web",
            "arn:aws:sts::123456789012:assumed-role/web",
            "arn:aws:sts::12:assumed-role/web/session",
            "arn:aws:iam::123456789012:user/web",
            "arn:aws:sts:us-west-2:123456789012:assumed-role/web/session",
        ] {
            assert_eq!(of(arn), None, "{arn}");
        }
    }
}
