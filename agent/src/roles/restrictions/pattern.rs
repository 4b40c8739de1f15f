//! Regular expressions on whole ARNs, as kiam's. The engine's time is linear in the ARN, and the memory
//! that an expression may take is bounded.

use regex::{Regex, RegexBuilder};

use super::super::arn::RoleArn;
use super::LONGEST;

/// How much an expression may take when it is compiled, in bytes.
const COMPILED_MAX: usize = 1024 * 1024;
/// How deep its groups may go.
const NESTED_MAX: u32 = 64;

/// A regular expression that must match the whole of an ARN.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    whole: Regex,
}

/// Why a text is no such expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is longer than is read.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It would take too much memory or time.
    #[error("it is too large a regular expression; write fewer repetitions")]
    TooLarge,
    /// It is malformed.
    #[error("it is no regular expression: {0}")]
    Malformed(Box<str>),
}

impl Pattern {
    /// Compiles an expression. It is anchored at both ends, whatever it says itself: kiam puts `^` and
    /// `$` around it as text, so that of `a|b` only one end of each was bound.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > LONGEST {
            return Err(PatternError::TooLong);
        }
        // By itself first: one that closes the group around it is malformed.
        compile(text)?;
        let whole = compile(&format!("^(?:{text})$"))?;
        Ok(Self { text: text.into(), whole })
    }

    /// Whether it matches the whole ARN.
    #[must_use]
    pub fn matches(&self, role: &RoleArn) -> bool {
        self.whole.is_match(role.as_str())
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

fn compile(text: &str) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(text);
    // Unicode's classes are large, and ARNs are ASCII.
    let built =
        builder.size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).nest_limit(NESTED_MAX);
    built.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        other => PatternError::Malformed(one_line(&other.to_string())),
    })
}

/// The engine shows the expression with a mark below, over several lines; its last says what is wrong.
fn one_line(error: &str) -> Box<str> {
    let last = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("malformed");
    last.strip_prefix("error: ").unwrap_or(last).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arn(name: &str) -> RoleArn {
        format!("arn:aws:iam::123456789012:role/{name}").parse().unwrap()
    }

    #[test]
    fn an_expression_must_match_the_whole_arn() {
        for (text, name, matches) in [
            (".*", "web", true),
            ("", "web", false),
            ("web", "web", false),
            (".*web", "web", true),
            (".*web", "web-admin", false),
            ("arn:aws:iam::123456789012:role/team-a/.*", "team-a/web", true),
            ("arn:aws:iam::123456789012:role/team-a/.*", "team-ab/web", false),
            ("^arn:aws:iam::123456789012:role/web$", "web", true),
            // An end of each was open in kiam.
            ("arn:aws:iam::123456789012:role/a|b", "a-admin", false),
            (".*/a|.*/b", "b", true),
            (".*/a|.*/b", "not-b", false),
            ("(?i).*WEB", "web", true),
        ] {
            let found = Pattern::new(text).map(|pattern| pattern.matches(&arn(name)));
            assert_eq!(found, Ok(matches), "{text:?} on {name:?}");
        }
        // A comment swallows the end of the group around it: malformed, not open.
        assert!(Pattern::new("(?x) web # comment").is_err());
    }

    #[test]
    fn what_cannot_be_compiled_is_refused_in_one_line() {
        for text in ["(", "a)|(.*", "[", "*", "\\", "(?P<x>a)(?P<x>b)", "a{2,1}", "(?=a)", "\\1"] {
            let error = Pattern::new(text).unwrap_err();
            assert!(matches!(error, PatternError::Malformed(_)), "{text:?}: {error:?}");
            assert_eq!(error.to_string().lines().count(), 1, "{text:?}: {error}");
        }
        assert_eq!(Pattern::new(&"a".repeat(LONGEST + 1)), Err(PatternError::TooLong));
        assert_eq!(Pattern::new("((a{1000}){1000}){1000}"), Err(PatternError::TooLarge));
        assert!(Pattern::new(&"(".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_none_matches_more_than_whole(text in ".{0,40}") {
            let Ok(pattern) = Pattern::new(&text) else { return Ok(()) };
            let role = arn("web");
            if pattern.matches(&role) {
                let found = Regex::new(&text).unwrap();
                prop_assert!(found.is_match(role.as_str()));
            }
        }

        #[test]
        fn an_escaped_arn_matches_itself_alone(name in "[A-Za-z0-9_+=,.@-]{1,20}", other in "[a-z.]{1,20}") {
            let pattern = Pattern::new(&regex::escape(arn(&name).as_str())).unwrap();
            prop_assert!(pattern.matches(&arn(&name)));
            prop_assert_eq!(pattern.matches(&arn(&other)), name == other);
        }
    }
}
