//! Errors as operators read them: the whole chain of causes in one line.

use std::error::Error;
use std::fmt;

/// Shows an error and each of its causes, joined by colons.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        let mut next = self.0.source();
        while let Some(error) = next {
            next = error.source();
            let cause = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !said.contains(&cause) {
                said = format!("{said}: {cause}");
            }
        }
        f.write_str(&said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    #[test]
    fn each_cause_is_said_once() {
        let root = Link { text: "no route", source: None };
        let repeating = Link { text: "connect failed: no route", source: Some(Box::new(root)) };
        let top = Link { text: "no answer", source: Some(Box::new(repeating)) };
        assert_eq!(Chain(&top).to_string(), "no answer: connect failed: no route");
    }
}
