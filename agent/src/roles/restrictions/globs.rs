//! kube2iam's list of globs: a JSON array of role names or ARNs in which `*` stands for any text, also
//! for none and across `/`. One that is no ARN is completed with the base, as a role's name is.

use std::borrow::Cow;

use super::super::arn::{BaseRoleArn, RoleArn};
use super::super::refusal::shown;
use super::LONGEST;

/// What no glob of role ARNs has and kube2iam's regular expressions nearly always do.
const OF_REGEXPS: [char; 10] = ['^', '$', '\\', '|', '[', ']', '(', ')', '{', '?'];

/// The entries of `iam.amazonaws.com/allowed-roles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globs(Vec<Box<str>>);

/// Why a text is no such list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobsError {
    /// It is longer than is read.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It is no JSON array of strings.
    #[error("it is no JSON array of strings, such as [\"web-*\"]: {0}")]
    NoArray(Box<str>),
    /// kube2iam's other format, which was not anchored.
    #[error(
        "its entry {entry:?} is a regular expression (kube2iam's --namespace-restriction-format=regexp), which is not read, since it matched anywhere; remove the annotation and write the permitted annotation instead, of the same meaning: {anchored:?}"
    )]
    Regexp {
        /// The first such entry.
        entry: Box<str>,
        /// The whole list as one expression for kiam's annotation.
        anchored: Box<str>,
    },
}

impl Globs {
    /// Reads the annotation's value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(json: &str) -> Result<Self, GlobsError> {
        if json.len() > LONGEST {
            return Err(GlobsError::TooLong);
        }
        let entries: Vec<Box<str>> = serde_json::from_str(json)
            .map_err(|error| GlobsError::NoArray(error.to_string().into()))?;
        let regexp = entries.iter().find(|entry| entry.contains(OF_REGEXPS));
        if let Some(entry) = regexp {
            let alternatives = entries.join("|");
            let anchored = format!(".*(?:{alternatives}).*").into();
            return Err(GlobsError::Regexp { entry: shown(entry), anchored });
        }
        Ok(Self(entries))
    }

    /// Whether an entry matches the role.
    #[must_use]
    pub fn match_role(&self, role: &RoleArn, base: Option<&BaseRoleArn>) -> bool {
        self.0.iter().any(|entry| matches(&completed(entry, base), role.as_str()))
    }

    /// What may have been meant by a list that does not match.
    pub(super) fn hint(&self, base: Option<&BaseRoleArn>) -> Option<Box<str>> {
        if self.0.iter().any(|entry| entry.contains(".*")) {
            return Some(
                "; `.*` is no glob: write `*`, or a regular expression in the permitted annotation"
                    .into(),
            );
        }
        let names = self.0.iter().any(|entry| !is_arn(entry));
        (names && base.is_none()).then(|| {
            "; an entry that is a bare name needs the agent's --base-role-arn to be completed"
                .into()
        })
    }
}

fn is_arn(entry: &str) -> bool {
    entry.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("arn:"))
}

fn completed<'a>(entry: &'a str, base: Option<&BaseRoleArn>) -> Cow<'a, str> {
    match base {
        Some(base) if !is_arn(entry) => {
            let path = entry.strip_prefix('/').unwrap_or(entry);
            format!("{}{path}", base.as_str()).into()
        }
        Some(_) | None => entry.into(),
    }
}

/// Whether `text` is `glob` with each `*` standing for some text. Takes the first place for each piece
/// between two stars, which is as good as any: linear but for the search of a piece.
fn matches(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(m, last)| (Some(m), last));
    for piece in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARN: &str = "arn:aws:iam::123456789012:role/";

    fn base() -> BaseRoleArn {
        ARN.parse().unwrap()
    }

    fn allows(json: &str, name: &str) -> bool {
        let role = format!("{ARN}{name}").parse().unwrap();
        Globs::from_json(json).unwrap().match_role(&role, Some(&base()))
    }

    #[test]
    fn entries_match_as_in_kube2iam() {
        for (json, name, allowed) in [
            (r#"["web"]"#, "web", true),
            (r#"["web"]"#, "web-admin", false),
            (r#"["web*"]"#, "web-admin", true),
            (r#"["*"]"#, "team/web", true),
            (r#"["team/*"]"#, "team/a/b/web", true),
            (r#"["/team/*"]"#, "team/web", true),
            (r#"["*-admin", "web"]"#, "web", true),
            (r#"["*a*b*"]"#, "xaybz", true),
            (r#"["*a*b*"]"#, "xbya", false),
            (r#"["a*a"]"#, "a", false),
            (r#"["a*a"]"#, "aa", true),
            (r#"["**"]"#, "web", true),
            (r#"["arn:aws:iam::123456789012:role/web"]"#, "web", true),
            (r#"["arn:*:role/web"]"#, "web", true),
            (r#"["arn:aws:iam::999999999999:role/*"]"#, "web", false),
            (r#"["role/web"]"#, "web", false),
            (r#"["WEB"]"#, "web", false),
            ("[]", "web", false),
            (r#"[""]"#, "web", false),
            (r#"["team.*"]"#, "team-a", false),
            (r#"["team.*"]"#, "team.a", true),
        ] {
            assert_eq!(allows(json, name), allowed, "{json} on {name:?}");
        }
    }

    #[test]
    fn a_bare_star_is_of_the_bases_account_alone() {
        let role = "arn:aws:iam::999999999999:role/web".parse().unwrap();
        let any = Globs::from_json(r#"["*"]"#).unwrap();
        assert!(!any.match_role(&role, Some(&base())));
        assert!(any.match_role(&role, None));
    }

    #[test]
    fn what_is_no_list_of_globs_is_refused_with_what_to_do() {
        for json in ["", "web", r#""web""#, r#"{"a":1}"#, "[1]", "[null]", r#"["a",]"#, r#"["a""#] {
            assert!(matches!(Globs::from_json(json), Err(GlobsError::NoArray(_))), "{json:?}");
        }
        let long = format!("[\"{}\"]", "a".repeat(LONGEST));
        assert_eq!(Globs::from_json(&long), Err(GlobsError::TooLong));
        let error = Globs::from_json(r#"["^arn:aws:iam::1.*:role/a", "b$"]"#).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(r#"".*(?:^arn:aws:iam::1.*:role/a|b$).*""#), "{text}");
    }

    #[test]
    fn what_may_have_been_meant_is_said() {
        let base = base();
        let hint = |json: &str, base| Globs::from_json(json).unwrap().hint(base);
        assert!(hint(r#"["team.*"]"#, Some(&base)).unwrap().contains("`.*` is no glob"));
        assert!(hint(r#"["team"]"#, None).unwrap().contains("--base-role-arn"));
        assert_eq!(hint(r#"["team"]"#, Some(&base)), None);
    }

    /// The same by its definition, in exponential time.
    fn by_definition(glob: &[u8], text: &[u8]) -> bool {
        match glob.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|cut| by_definition(rest, &text[cut..])),
            Some((letter, rest)) => text
                .split_first()
                .is_some_and(|(first, text)| first == letter && by_definition(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn globs_match_by_their_definition(glob in "[ab*]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(&glob, &text), by_definition(glob.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_json_panics(json in ".{0,60}") {
            let _ = Globs::from_json(&json);
        }

        #[test]
        fn every_list_of_plain_names_is_read(names in proptest::collection::vec("[a-zA-Z0-9_+=,.@/*-]{0,20}", 0..5)) {
            let json = serde_json::to_string(&names).unwrap();
            prop_assert!(Globs::from_json(&json).is_ok());
        }
    }
}
