//! Who the pretend node is: the identities that the pretend STS takes a signature from.

/// Account that the node lives in.
pub const ACCOUNT: &str = "111122223333";
/// Region of the node.
pub const REGION: &str = "us-west-2";
/// EC2 instance id of the node.
pub const INSTANCE_ID: &str = "i-0a1b2c3d4e5f60718";
/// Role of the node's instance profile.
pub const ROLE: &str = "NodeInstanceRole";
/// What the node is to STS: its instance profile's session.
pub const ARN: &str = "arn:aws:sts::111122223333:assumed-role/NodeInstanceRole/i-0a1b2c3d4e5f60718";

/// Stands in every secret that only the node may hold: a pod that reads it has found a leak.
pub const LEAK_MARKER: &str = "node-credentials-leaked";

/// A key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
    /// Session token, of temporary keys.
    pub token: Option<String>,
}

impl Keys {
    /// The keys a test gives to the agent by environment variables.
    #[must_use]
    pub fn of_environment() -> Self {
        Self {
            id: "AKIDPODROLENODE".to_owned(),
            secret: "pretend+node/secret+access/key+podrole00".to_owned(),
            token: None,
        }
    }

    /// The keys that the pretend metadata service gives out for [`ROLE`].
    #[must_use]
    pub fn of_instance_profile() -> Self {
        Self {
            id: "ASIANODEAAAAAAAAAAAA".to_owned(),
            secret: format!("{LEAK_MARKER}/secret+key/NODE0"),
            token: Some(format!("{LEAK_MARKER}/session+token/NODE==")),
        }
    }
}
