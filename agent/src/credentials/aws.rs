//! The way to AWS: region, partition, endpoints, timeouts and the agent's own credentials, from where
//! every AWS SDK takes them (AWS SDKs and Tools Reference Guide, "Settings reference").

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use tokio::time::timeout;

use crate::roles::RoleArn;

use super::FetchError;
use super::http_client::NodeClient;

/// For one attempt of a call. The broker tries again, within the limits of the whole node; the SDK's
/// own retries would know nothing of those.
pub(super) const ATTEMPT: Duration = Duration::from_secs(5);
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

/// How AWS is reached from this node. Cheap to clone.
#[derive(Clone)]
pub struct Aws {
    config: SdkConfig,
    region: Box<str>,
}

impl Aws {
    /// As the environment, the shared configuration and the metadata service say.
    ///
    /// # Errors
    /// [`ConfigError`] where no region is found.
    pub async fn from_environment() -> Result<Self, ConfigError> {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(ATTEMPT)
            .operation_attempt_timeout(ATTEMPT)
            .build();
        let loading = aws_config::defaults(BehaviorVersion::latest())
            .http_client(NodeClient::from_environment())
            .timeout_config(timeouts)
            .retry_config(RetryConfig::disabled())
            .load();
        let config = timeout(REGION_DEADLINE, loading).await.map_err(|_| ConfigError::NoRegion)?;
        let region = config.region().ok_or(ConfigError::NoRegion)?.as_ref().into();
        Ok(Self { config, region })
    }

    /// The region whose endpoints are asked.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The partition of that region, such as `aws-cn`; none for a region of no known kind.
    #[must_use]
    pub fn partition(&self) -> Option<&'static str> {
        partition_of(&self.region)
    }

    pub(super) fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A role of another partition cannot be assumed from here: they share no accounts (AWS General
    /// Reference, "Amazon Resource Names", partitions). AWS's own answer would not say so.
    pub(super) fn check_partition(&self, role: &RoleArn) -> Result<(), FetchError> {
        match self.partition() {
            Some(own) if own != role.partition() => Err(FetchError::Refused {
                code: "OtherPartition".into(),
                message: format!(
                    "{role} is in the partition {}, but this node's region {} is in {own}: no identity of one can assume a role of another",
                    role.partition(),
                    self.region
                )
                .into(),
            }),
            _ => Ok(()),
        }
    }
}

/// By the beginning of its name, as every SDK tells it (`partitions.json` of the AWS SDKs).
fn partition_of(region: &str) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    const COMMERCIAL: [&str; 9] = ["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx"];
    let other = BEGINNINGS.iter().find(|(beginning, _)| region.starts_with(beginning));
    other.map(|(_, partition)| *partition).or_else(|| {
        let (area, rest) = region.split_once('-')?;
        // `us-REALM-PLACE-1` of a realm that is not known here is not the commercial one.
        (COMMERCIAL.contains(&area) && rest.split('-').count() == 2).then_some("aws")
    })
}

#[cfg(test)]
impl Aws {
    pub(super) fn fixture(config: SdkConfig) -> Self {
        let region = config.region().unwrap().as_ref().into();
        Self { config, region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_partition() {
        for (region, partition) in [
            ("us-east-1", Some("aws")),
            ("ap-southeast-5", Some("aws")),
            ("mx-central-1", Some("aws")),
            ("cn-northwest-1", Some("aws-cn")),
            ("us-gov-west-1", Some("aws-us-gov")),
            ("us-iso-east-1", Some("aws-iso")),
            ("us-isob-east-1", Some("aws-iso-b")),
            ("eu-isoe-west-1", Some("aws-iso-e")),
            ("us-isof-south-1", Some("aws-iso-f")),
            ("eusc-de-east-1", Some("aws-eusc")),
            ("us-new-east-1", None),
            ("local", None),
        ] {
            assert_eq!(partition_of(region), partition, "{region}");
        }
    }

    #[test]
    fn a_role_of_another_partition_is_refused_before_any_call() {
        let aws = |region: &'static str| {
            let region = aws_config::Region::from_static(region);
            Aws::fixture(SdkConfig::builder().region(region).build())
        };
        let role: RoleArn = "arn:aws-cn:iam::123456789012:role/web".parse().unwrap();
        assert_eq!(aws("cn-north-1").check_partition(&role), Ok(()));
        assert_eq!(aws("somewhere").check_partition(&role), Ok(()));
        let refused = aws("eu-west-1").check_partition(&role).unwrap_err();
        assert!(refused.to_string().contains("aws-cn"), "{refused}");
    }
}
