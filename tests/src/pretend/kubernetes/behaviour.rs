//! How the API server is made to fail.

use serde::{Deserialize, Serialize};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// As an API server does it.
    #[default]
    Normal,
    /// No answer, ever; open watches say nothing more either, until it is another way again.
    Silent,
    /// The connection is reset.
    Reset,
    /// 503.
    Unavailable,
    /// 403.
    Forbidden,
    /// 200 and something that is not JSON.
    Rubbish,
}

impl Way {
    /// Status of the answer, where the way decides it.
    pub(super) fn status(self) -> Option<u16> {
        match self {
            Self::Normal | Self::Silent | Self::Reset => None,
            Self::Unavailable => Some(503),
            Self::Forbidden => Some(403),
            Self::Rubbish => Some(200),
        }
    }
}

/// Body of `PUT /_pretend/behaviour`; holds for requests that come after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behaviour {
    /// What becomes of a request.
    pub answer: Way,
    /// Milliseconds before the answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// Only requests for this resource (`pods`); `None`: every request.
    #[serde(default)]
    pub resource: Option<String>,
    /// What access reviews say that one may not do, as in `create pods/exec`.
    #[serde(default)]
    pub denied: Option<String>,
}

/// Body of `PUT /_pretend/watches`: how watches of one resource tell of changes, from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Telling {
    /// The resource (`pods`); without it, every one.
    pub resource: Option<String>,
    /// Whether changes are kept back. Lists have them.
    pub held: bool,
    /// Whether each change is told twice.
    pub twice: bool,
    /// Whether of changes that are told together, those of the object that changed last come first.
    pub backwards: bool,
}

impl Telling {
    /// What holds for watches of this resource.
    pub(super) fn for_resource(&self, plural: &str) -> Self {
        match &self.resource {
            Some(only) if only != plural => Self::default(),
            _ => self.clone(),
        }
    }
}

impl Behaviour {
    /// What holds for a request for this resource.
    pub(super) fn for_resource(self, resource: Option<&str>) -> Self {
        match &self.resource {
            Some(only) if resource != Some(only) => Self::default(),
            _ => self,
        }
    }
}
