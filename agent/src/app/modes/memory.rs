//! What this node's label said last, in a file that outlives the agent: for one that starts while the
//! API server cannot be reached.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::operate::state_file::StateFile;
use crate::report::Chain;

const FILE: &str = "mode.json";
const VERSION: u32 = 1;

/// The file, and what it is known to hold.
#[derive(Debug)]
pub(crate) struct Memory {
    file: StateFile,
    holds: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Saved {
    label: Option<Box<str>>,
}

impl Memory {
    /// Of the node, in `state_dir`.
    pub(crate) fn load(state_dir: &Path, node: &str) -> Self {
        let file = StateFile::new(state_dir, FILE, VERSION, node, Vec::new());
        let holds = file.read::<Saved>().unwrap_or_else(|error| {
            warn!(error = %Chain(&error), "what this node's label said last is not used");
            None
        });
        Self { file, holds: holds.and_then(|saved| saved.label) }
    }

    /// What the label said last; nothing where it is not known that there was one.
    pub(crate) fn label(&self) -> Option<Box<str>> {
        self.holds.clone()
    }

    /// Keeps what it says now.
    pub(super) fn keep(&mut self, label: Option<&str>) {
        if self.holds.as_deref() == label {
            return;
        }
        let saved = Saved { label: label.map(Into::into) };
        match self.file.replace(&saved) {
            Ok(()) => self.holds = saved.label,
            Err(error) => {
                warn!(error = %Chain(&error), "the mode would not survive a restart without the API server; trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_there_for_the_next_agent_until_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let load = || Memory::load(&state, "node-1");
        let mut memory = load();
        assert_eq!(memory.label(), None);
        memory.keep(Some("audit"));
        memory.keep(Some("off"));
        assert_eq!(load().label().as_deref(), Some("off"));
        memory.keep(None);
        assert_eq!(load().label(), None);
    }
}
