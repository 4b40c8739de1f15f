//! The flags that say what pods may read beside their role, and how much they may ask.

use clap::Args;

use crate::metadata::{AllowList, Endpoint, ImdsV1};

use super::Checker;

/// The flags that say what pods may read beside their role, as they are written.
#[derive(Clone, Debug, Args)]
pub struct MetadataArguments {
    /// The real metadata service, for the paths that pods may read; `none` off EC2 (default:
    /// <http://169.254.169.254>, or what `AWS_EC2_METADATA_SERVICE_ENDPOINT` says)
    #[arg(long, env = "PODROLE_METADATA_ENDPOINT", value_name = "URL")]
    pub metadata_endpoint: Option<String>,

    /// As the AWS SDKs take it.
    #[arg(
        long = "metadata-endpoint-of-sdks",
        env = "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        hide = true
    )]
    pub metadata_endpoint_of_sdks: Option<String>,

    /// What pods may read of the node beside their role: `default`, `none`, or paths below meta-data/ or
    /// dynamic/; `default,tags/` adds to the default
    #[arg(
        long,
        env = "PODROLE_METADATA_PATHS",
        value_delimiter = ',',
        default_value = "default",
        value_name = "PATHS"
    )]
    pub metadata_paths: Vec<String>,

    /// Whether requests without a session token are answered: `allow` or `deny`
    #[arg(long, env = "PODROLE_IMDS_V1", default_value = "allow", value_name = "WHETHER")]
    pub imds_v1: String,

    /// How many connections of one pod are served at a time
    #[arg(long, env = "PODROLE_POD_CONNECTIONS", default_value_t = 64, value_name = "NUMBER")]
    pub pod_connections: u32,

    /// How many requests of one pod are answered in a second; twice as many at once
    #[arg(long, env = "PODROLE_POD_RPS", default_value_t = 200, value_name = "NUMBER")]
    pub pod_rps: u32,
}

/// What pods may read beside their role, and how much they may ask.
#[derive(Clone, Debug)]
pub struct MetadataSettings {
    /// The real service; none off EC2.
    pub endpoint: Option<Endpoint>,
    /// What pods may read of it.
    pub paths: AllowList,
    /// Whether tokens are required.
    pub imds_v1: ImdsV1,
    /// Connections of one pod at a time.
    pub pod_connections: u32,
    /// Requests of one pod in a second.
    pub pod_rps: u32,
}

pub(super) fn check(arguments: MetadataArguments, check: &mut Checker) -> MetadataSettings {
    let MetadataArguments {
        metadata_endpoint,
        metadata_endpoint_of_sdks,
        metadata_paths,
        imds_v1,
        pod_connections,
        pod_rps,
    } = arguments;
    let given = metadata_endpoint.or(metadata_endpoint_of_sdks).filter(|url| !url.is_empty());
    let words = metadata_paths.iter().map(|word| word.trim());
    let paths = AllowList::parse(words).map_err(|error| error.to_string());
    MetadataSettings {
        endpoint: check.flag("--metadata-endpoint", endpoint(given.as_deref())).flatten(),
        paths: check.require("--metadata-paths", paths),
        imds_v1: check.require("--imds-v1", imds_v1.parse()),
        pod_connections: check.require("--pod-connections", at_least_one(pod_connections)),
        pod_rps: check.require("--pod-rps", at_least_one(pod_rps)),
    }
}

fn endpoint(given: Option<&str>) -> Result<Option<Endpoint>, String> {
    match given {
        None => Ok(Some(Endpoint::default())),
        Some("none") => Ok(None),
        Some(url) => Endpoint::parse(url).map(Some),
    }
}

fn at_least_one(given: u32) -> Result<u32, String> {
    if given == 0 { Err("0 would serve no pod; write 1 or more".into()) } else { Ok(given) }
}
