//! AssumeRole with the agent's own identity, and from there the target role (AWS STS API Reference,
//! "AssumeRole"; IAM User Guide, "Role chaining").

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_sts::Client;
use aws_sdk_sts::config::{Builder, SharedCredentialsProvider};
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::types;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tracing::warn;

use crate::clock::Clock;
use crate::operate::metrics::Counter;
use crate::roles::RoleArn;

use super::aws::Aws;
use super::classify::classify;
use super::learned::{HOUR, Learned, Lesson};
use super::session::Tag;
use super::trials::Said;
use super::{AssumeRoleRequest, Credentials, FetchError};

/// For the whole of one session: both calls of a chain, each once more at most.
const DEADLINE: Duration = Duration::from_secs(15);
/// For the first session of a chain, which lives for one call: the least that STS gives.
const FIRST_OF_CHAIN: Duration = Duration::from_mins(15);
/// Of the size that STS allows for tags and policies, packed, in percent: beyond it, it is told.
const PACKED_WARNING: i32 = 80;

/// The source `sts`.
#[derive(Clone)]
pub struct Sts {
    aws: Aws,
    client: Client,
    clock: Clock,
    learned: Arc<Learned>,
    /// Counts the sessions that were got without their tags.
    pub untagged: Counter,
}

/// Whom STS takes the agent for (AWS STS API Reference, `GetCallerIdentity`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ARN of the user or of the role's session.
    pub arn: Box<str>,
    /// The twelve digits of its account.
    pub account: Box<str>,
    /// Its partition, such as `aws`.
    pub partition: Box<str>,
}

/// One call of AssumeRole.
struct Call<'a> {
    role: &'a RoleArn,
    name: &'a str,
    tags: &'a [Tag],
    transitive: bool,
    external_id: Option<&'a str>,
    policy: Option<&'a str>,
    duration: Duration,
}

impl Sts {
    /// STS as `aws` reaches it.
    #[must_use]
    pub fn new(aws: Aws, clock: Clock) -> Self {
        let client = Client::new(aws.config());
        Self { aws, client, clock, learned: Arc::default(), untagged: Counter::default() }
    }

    /// Whom STS takes the agent for. Nobody can be denied this question.
    ///
    /// # Errors
    /// Where STS does not accept the agent's credentials, does not answer, or tells no ARN.
    pub async fn identity(&self) -> Result<Identity, FetchError> {
        let asked = self.client.get_caller_identity().send();
        let answer = within_deadline(asked).await?.map_err(|error| classify(&error))?;
        let arn = answer.arn.unwrap_or_default();
        let mut fields = arn.split(':').skip(1);
        match (fields.next(), answer.account) {
            (Some(partition), Some(account)) => Ok(Identity {
                partition: partition.into(),
                account: account.into(),
                arn: arn.into(),
            }),
            _ => Err(FetchError::Unusable("it names no identity")),
        }
    }

    /// Whether the tags of `request` are left out: STS refused them within the hour, and
    /// `untagged-fallback` does without.
    #[must_use]
    pub fn leaves_out_tags(&self, request: &AssumeRoleRequest) -> bool {
        request.untagged_fallback
            && !request.tags.is_empty()
            && self.learned.knows(&request.role, Lesson::Untagged)
    }

    /// Asks for one session.
    ///
    /// # Errors
    /// Where STS refuses, does not answer, or answers what cannot be used.
    pub async fn assume_role(
        &self,
        request: &AssumeRoleRequest,
    ) -> Result<Credentials, FetchError> {
        self.aws.check_partition(&request.role)?;
        within_deadline(self.tagged_or_not(request)).await?
    }

    /// Asks for one session as it is, and where STS answers `AccessDenied`, once more without its tags. What
    /// STS gives is dropped at once.
    pub async fn try_out(&self, request: &AssumeRoleRequest) -> Said {
        let ask = async |tags: &[Tag]| {
            self.aws.check_partition(&request.role)?;
            within_deadline(self.chain(request, tags)).await?.map(drop)
        };
        let as_it_is = ask(request.tags.as_slice()).await;
        let is_denied =
            matches!(&as_it_is, Err(FetchError::Refused { code, .. }) if &**code == "AccessDenied");
        let untagged =
            if is_denied && !request.tags.is_empty() { Some(ask(&[]).await) } else { None };
        Said { as_it_is, untagged }
    }

    async fn tagged_or_not(&self, request: &AssumeRoleRequest) -> Result<Credentials, FetchError> {
        let AssumeRoleRequest { role, tags, untagged_fallback, .. } = request;
        let may_leave_out = *untagged_fallback && !tags.is_empty();
        if may_leave_out && self.learned.knows(role, Lesson::Untagged) {
            return self.chain(request, &[]).await.inspect(|_| self.note_untagged(role));
        }
        match self.chain(request, tags).await {
            Err(FetchError::Refused { code, .. }) if may_leave_out && &*code == "AccessDenied" => {
                let credentials = self.chain(request, &[]).await?;
                self.learned.note(role, Lesson::Untagged);
                self.note_untagged(role);
                Ok(credentials)
            }
            other => other,
        }
    }

    fn note_untagged(&self, role: &RoleArn) {
        self.untagged.inc();
        warn!(
            %role,
            "STS refuses this role with session tags, so its session has none: let its trust policy allow sts:TagSession"
        );
    }

    /// The session of the request's role, and from there that of its target.
    async fn chain(
        &self,
        request: &AssumeRoleRequest,
        tags: &[Tag],
    ) -> Result<Credentials, FetchError> {
        let AssumeRoleRequest { role, target, name, transitive, .. } = request;
        let whole = Call {
            role,
            name,
            tags,
            transitive: *transitive,
            external_id: request.external_id.as_deref(),
            policy: request.policy.as_deref(),
            duration: request.duration,
        };
        let Some(target) = target else { return self.call(&self.client, &whole).await };
        let first = Call { external_id: None, policy: None, duration: FIRST_OF_CHAIN, ..whole };
        let session = self.call(&self.client, &first).await?;
        // Transitive tags come along by themselves, and STS refuses them when they are sent again.
        let tags = if *transitive { &[] } else { tags };
        let second = Call { role: target, tags, ..whole };
        self.call(&self.client_of(&session), &second).await
    }

    /// One call, and once more for an hour where the role's sessions may not last longer.
    async fn call(&self, client: &Client, call: &Call<'_>) -> Result<Credentials, FetchError> {
        let duration = self.learned.duration(call.role, call.duration);
        match self.send(client, call, duration).await {
            Err(error) if duration > HOUR && is_too_long(&error) => {
                self.learned.note_hour(call.role, &error);
                self.send(client, call, HOUR).await
            }
            other => other,
        }
    }

    async fn send(
        &self,
        client: &Client,
        call: &Call<'_>,
        duration: Duration,
    ) -> Result<Credentials, FetchError> {
        let Call { role, name, tags, transitive, external_id, policy, duration: _ } = call;
        let keys = tags.iter().filter(|_| *transitive).map(|tag| tag.key.to_string());
        let keys: Vec<String> = keys.collect();
        let tags = tags.iter().map(tag).collect::<Result<Vec<_>, _>>()?;
        let sent = client
            .assume_role()
            .role_arn(role.as_str())
            .role_session_name(*name)
            .duration_seconds(seconds(duration))
            .set_tags((!tags.is_empty()).then_some(tags))
            .set_transitive_tag_keys((!keys.is_empty()).then_some(keys))
            .set_external_id(external_id.map(str::to_owned))
            .set_policy(policy.map(str::to_owned))
            .send();
        let answer = sent.await.map_err(|error| classify(&error))?;
        tell_packed_size(&answer, role);
        read(answer.credentials, role, self.clock.now())
    }

    /// A client that signs with a session that was just got.
    fn client_of(&self, session: &Credentials) -> Client {
        let credentials = aws_sdk_sts::config::Credentials::new(
            &*session.access_key_id,
            session.secret_access_key.expose_secret(),
            Some(session.session_token.expose_secret().to_owned()),
            Some(session.expiration),
            "podrole",
        );
        let provider = SharedCredentialsProvider::new(credentials);
        let config = Builder::from(self.aws.config()).credentials_provider(provider);
        Client::from_conf(config.build())
    }
}

impl Learned {
    pub(super) fn note_hour(&self, role: &RoleArn, why: &FetchError) {
        self.note(role, Lesson::AnHour);
        warn!(%role, %why, "its sessions are asked for one hour instead");
    }
}

async fn within_deadline<T>(asked: impl Future<Output = T>) -> Result<T, FetchError> {
    let late = |_| FetchError::Unavailable("no answer within 15 s".into());
    timeout(DEADLINE, asked).await.map_err(late)
}

fn tag(tag: &Tag) -> Result<types::Tag, FetchError> {
    let built = types::Tag::builder().key(&*tag.key).value(&*tag.value).build();
    built.map_err(|_| FetchError::Unusable("a session tag could not be built"))
}

pub(super) fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// STS says so of the role's `MaxSessionDuration` and of the hour that role chaining has.
pub(super) fn is_too_long(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused { code, message }
        if &**code == "ValidationError" && message.contains("DurationSeconds exceeds"))
}

fn tell_packed_size(answer: &AssumeRoleOutput, role: &RoleArn) {
    #[expect(deprecated, reason = "not every partition has its successor yet")]
    let packed = answer.packed_policy_size.max(answer.session_token_utilization);
    if let Some(percent) = packed.filter(|percent| *percent > PACKED_WARNING) {
        warn!(%role, percent, "session tags and policy take nearly all of the size that STS allows");
    }
}

pub(super) fn read(
    given: Option<types::Credentials>,
    role: &RoleArn,
    obtained: SystemTime,
) -> Result<Credentials, FetchError> {
    let given = given.ok_or(FetchError::Unusable("it has no credentials"))?;
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

#[cfg(test)]
mod tests;
