//! AssumeRole with the agent's own identity (AWS STS API Reference, "AssumeRole").

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::{AssumeRoleError, AssumeRoleOutput};
use aws_sdk_sts::types::Tag;
use secrecy::SecretString;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::report::Chain;
use crate::roles::RoleArn;

use super::{AssumeRoleRequest, Credentials, FetchError};

/// For the whole of one AssumeRole, the SDK's own retries included.
const DEADLINE: Duration = Duration::from_secs(15);
/// For one attempt of it.
const ATTEMPT: Duration = Duration::from_secs(5);
/// For finding the region, which may ask the metadata service.
const REGION_DEADLINE: Duration = Duration::from_secs(10);

/// Why AWS cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither the environment nor the metadata service names a region.
    #[error(
        "no AWS region: neither AWS_REGION, the shared configuration nor the metadata service names one; set AWS_REGION"
    )]
    NoRegion,
}

/// The source `sts`.
pub struct Sts {
    client: Client,
    clock: Clock,
}

impl Sts {
    /// Takes region, endpoint and the agent's own credentials from where every AWS SDK takes them
    /// (AWS SDKs and Tools Reference Guide, "Standardized credential providers").
    ///
    /// # Errors
    /// [`ConfigError`] where no region is found.
    pub async fn from_environment(clock: Clock) -> Result<Self, ConfigError> {
        let timeouts =
            TimeoutConfig::builder().operation_timeout(DEADLINE).operation_attempt_timeout(ATTEMPT);
        let loading =
            aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.build()).load();
        let config: SdkConfig =
            timeout(REGION_DEADLINE, loading).await.map_err(|_| ConfigError::NoRegion)?;
        if config.region().is_none() {
            return Err(ConfigError::NoRegion);
        }
        Ok(Self { client: Client::new(&config), clock })
    }

    /// Asks once.
    ///
    /// # Errors
    /// Where STS refuses, does not answer, or answers what cannot be used.
    pub async fn assume_role(
        &self,
        request: &AssumeRoleRequest,
    ) -> Result<Credentials, FetchError> {
        let AssumeRoleRequest { role, name, tags, duration, .. } = request;
        let tags = tags
            .iter()
            .map(|tag| Tag::builder().key(&*tag.key).value(&*tag.value).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| FetchError::Unusable("a session tag could not be built"))?;
        let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
        let call = self
            .client
            .assume_role()
            .role_arn(role.as_str())
            .role_session_name(&**name)
            .duration_seconds(seconds)
            .set_tags((!tags.is_empty()).then_some(tags))
            .send();
        let answered = timeout(DEADLINE, call)
            .await
            .map_err(|_| FetchError::Unavailable("no answer within 15 s".into()))?;
        read(answered.map_err(|error| classify(&error))?, role, self.clock.now())
    }
}

fn read(
    answer: AssumeRoleOutput,
    role: &RoleArn,
    obtained: SystemTime,
) -> Result<Credentials, FetchError> {
    let given = answer.credentials.ok_or(FetchError::Unusable("it has no credentials"))?;
    let expiration = SystemTime::try_from(given.expiration)
        .map_err(|_| FetchError::Unusable("its expiration is no time"))?;
    let complete = [&given.access_key_id, &given.secret_access_key, &given.session_token];
    if complete.iter().any(|part| part.is_empty()) {
        return Err(FetchError::Unusable("a part of its credentials is empty"));
    }
    Ok(Credentials {
        role: role.clone(),
        access_key_id: given.access_key_id.into(),
        secret_access_key: SecretString::from(given.secret_access_key),
        session_token: SecretString::from(given.session_token),
        expiration,
        obtained,
    })
}

/// Only what names a fault of the request is a refusal; what may pass, and what is not known, may be
/// asked again.
fn classify(error: &SdkError<AssumeRoleError>) -> FetchError {
    if let SdkError::ResponseError(_) = error {
        // Its details may quote the answer, which may hold a secret.
        return FetchError::Unusable("it is no answer to AssumeRole");
    }
    let Some(service) = error.as_service_error() else {
        return FetchError::Unavailable(Chain(error).to_string().into());
    };
    if error.raw_response().is_some_and(|response| response.status().is_success()) {
        return FetchError::Unusable("it is no answer to AssumeRole");
    }
    let code: Arc<str> = service.code().unwrap_or("Unknown").into();
    let message: Arc<str> = service.message().unwrap_or("AWS gave no message").into();
    let failed = match error {
        SdkError::ServiceError(failed) => failed.raw().status().as_u16(),
        _ => 0,
    };
    match &*code {
        "AccessDenied" | "ValidationError" | "PackedPolicyTooLarge" | "MalformedPolicyDocument" => {
            FetchError::Refused { code, message }
        }
        "RegionDisabledException" => FetchError::RegionDisabled { message },
        // AWS General Reference, "Troubleshoot signed requests": what is said of the time of signing.
        "SignatureDoesNotMatch" if message.starts_with("Signature ") => {
            FetchError::ClockSkew { code, message }
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            FetchError::ClockSkew { code, message }
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => FetchError::NodeCredentials { code, message },
        "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown" => FetchError::Throttled { code, message },
        _ if failed == 429 => FetchError::Throttled { code, message },
        _ => FetchError::Unavailable(format!("{code}: {message}").into()),
    }
}
