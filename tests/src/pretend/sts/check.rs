//! The limits of AssumeRole's parameters ("AssumeRole - AWS Security Token Service API Reference",
//! "Pass session tags in AWS STS", "IAM and AWS STS quotas").

use std::collections::{BTreeMap, HashSet};

use super::answer::Refusal;
use super::asked::{Asked, Tag};

/// Bytes that make the packed size 100 %. The real measure is not public; this one lets the six
/// tags of a pod through with room to spare and refuses what fifty long ones take.
const PACKED_LIMIT: usize = 4096;

/// A role's ARN: `arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleArn {
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// `/`, or begins and ends with one.
    pub path: String,
    /// What is after the last slash.
    pub name: String,
}

impl RoleArn {
    /// Reads an ARN; `None` if it is not one of a role.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(6, ':');
        let mut next = || fields.next();
        let (arn, partition, service, region) = (next()?, next()?, next()?, next()?);
        let (account, resource) = (next()?, next()?);
        let (path, name) = resource.strip_prefix("role")?.rsplit_once('/')?;
        let partition_is_right = partition == "aws" || partition.starts_with("aws-");
        let account_is_right = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let path_is_right = path.len() < 512
            && (path.is_empty() || path.starts_with('/'))
            && path.bytes().all(|byte| byte.is_ascii_graphic());
        let name_is_right = (1..=64).contains(&name.len()) && name.chars().all(is_word);
        let right = arn == "arn" && service == "iam" && region.is_empty();
        (right && partition_is_right && account_is_right && path_is_right && name_is_right).then(
            || Self {
                partition: partition.to_owned(),
                account: account.to_owned(),
                path: format!("{path}/"),
                name: name.to_owned(),
            },
        )
    }
}

/// What depends on the caller.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The caller is itself a role's session: an hour at most.
    pub role_chaining: bool,
    /// The transitive tags of the caller's session.
    pub inherited: &'a BTreeMap<String, String>,
}

/// Parameters that are within the limits.
#[derive(Debug)]
pub struct Checked {
    /// `RoleArn`.
    pub role: RoleArn,
    /// `DurationSeconds`, or its default.
    pub duration: u32,
    /// Percent of what policies and tags may take together, packed.
    pub packed_percent: usize,
}

/// Holds the parameters of a call against the limits.
pub fn assume_role(asked: &Asked, limits: &Limits<'_>) -> Result<Checked, Refusal> {
    let mut violations = Violations::default();
    violations.length("roleArn", &asked.role_arn, 20, 2048);
    violations.text("roleSessionName", &asked.session_name, 2, 64, r"[\w+=,.@-]*", is_word);
    let duration = violations.duration(asked.duration.as_deref());
    if let Some(id) = &asked.external_id {
        let may_stand = |letter| is_word(letter) || matches!(letter, ':' | '/');
        violations.text("externalId", id, 2, 1224, r"[\w+=,.@:\/-]*", may_stand);
    }
    if let Some(identity) = &asked.source_identity {
        violations.text("sourceIdentity", identity, 2, 64, r"[\w+=,.@-]*", is_word);
    }
    violations.tags(asked);
    if asked.policy_arns.len() > 10 {
        violations.add(
            "policyArns",
            &asked.policy_arns.join(","),
            "have length less than or equal to 10",
        );
    }
    violations.into_result()?;

    let Some(role) = RoleArn::parse(&asked.role_arn) else {
        return Err(Refusal::validation(format!("{} is invalid", asked.role_arn)));
    };
    tag_keys(asked, limits.inherited)?;
    if limits.role_chaining && duration > 3600 {
        return Err(Refusal::validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining.",
        ));
    }
    Ok(Checked { role, duration, packed_percent: packed_percent(asked)? })
}

/// What concerns the keys of tags among each other.
fn tag_keys(asked: &Asked, inherited: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let mut keys = HashSet::new();
    if !asked.tags.iter().all(|tag| keys.insert(tag.key.to_lowercase())) {
        return Err(Refusal::validation(
            "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        ));
    }
    if keys.iter().any(|key| key.starts_with("aws:")) {
        return Err(Refusal::validation(
            "Tag keys that begin with aws: are reserved for internal use.",
        ));
    }
    if !asked.transitive.iter().all(|key| keys.contains(&key.to_lowercase())) {
        return Err(Refusal::validation(
            "The specified transitive tag key must be included in the requested tags.",
        ));
    }
    if inherited.keys().any(|key| keys.contains(&key.to_lowercase())) {
        return Err(Refusal::validation(
            "One of the specified transitive tag keys can't be set because it conflicts with a \
             transitive tag key from the calling session.",
        ));
    }
    Ok(())
}

/// How much of the packed size policies and tags take.
fn packed_percent(asked: &Asked) -> Result<usize, Refusal> {
    let policy = asked.policy.as_deref().unwrap_or_default();
    let arns: usize = asked.policy_arns.iter().map(String::len).sum();
    if policy.chars().count() + arns > 2048 {
        return Err(Refusal::validation(
            "The plaintext of policy and policyArns must be at most 2048 characters.",
        ));
    }
    if !policy.is_empty() && serde_json::from_str::<serde_json::Value>(policy).is_err() {
        return Err(Refusal::sender(
            "MalformedPolicyDocument",
            "This policy contains invalid Json",
        ));
    }
    let tags: usize = asked.tags.iter().map(|tag| tag.key.len() + tag.value.len()).sum();
    let percent = (tags + policy.len() + arns).div_ceil(PACKED_LIMIT / 100);
    if percent > 100 {
        return Err(Refusal::sender(
            "PackedPolicyTooLarge",
            format!("Packed size of session tags consumes {percent}% of allotted space."),
        ));
    }
    Ok(percent)
}

/// `[\w+=,.@-]`, of ASCII.
fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`
fn is_tag_letter(letter: char) -> bool {
    letter.is_alphabetic()
        || letter.is_numeric()
        || (letter.is_whitespace() && !letter.is_control())
        || "_.:/=+-@".contains(letter)
}

/// The violations of one call, which STS reports all at once.
#[derive(Debug, Default)]
struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, member: &str, value: &str, must: &str) {
        self.0.push(format!(
            "Value '{value}' at '{member}' failed to satisfy constraint: Member must {must}"
        ));
    }

    fn length(&mut self, member: &str, value: &str, least: usize, most: usize) {
        let length = value.chars().count();
        if length < least {
            self.add(member, value, &format!("have length greater than or equal to {least}"));
        }
        if length > most {
            self.add(member, value, &format!("have length less than or equal to {most}"));
        }
    }

    fn text(
        &mut self,
        member: &str,
        value: &str,
        least: usize,
        most: usize,
        pattern: &str,
        may_stand: impl Fn(char) -> bool,
    ) {
        self.length(member, value, least, most);
        if !value.chars().all(may_stand) {
            self.add(member, value, &format!("satisfy regular expression pattern: {pattern}"));
        }
    }

    /// Seconds; an hour by default.
    fn duration(&mut self, asked: Option<&str>) -> u32 {
        let text = asked.unwrap_or("3600");
        let Ok(seconds) = text.parse() else {
            self.add("durationSeconds", text, "be an integer");
            return 0;
        };
        if seconds < 900 {
            self.add("durationSeconds", text, "have value greater than or equal to 900");
        }
        if seconds > 43_200 {
            self.add("durationSeconds", text, "have value less than or equal to 43200");
        }
        seconds
    }

    fn tags(&mut self, asked: &Asked) {
        let pattern = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]";
        for (at, Tag { key, value }) in asked.tags.iter().enumerate() {
            let member = format!("tags.{}.member", at + 1);
            let (key_member, value_member) = (format!("{member}.key"), format!("{member}.value"));
            self.text(&key_member, key, 1, 128, &format!("{pattern}+"), is_tag_letter);
            self.text(&value_member, value, 0, 256, &format!("{pattern}*"), is_tag_letter);
        }
        if asked.tags.len() > 50 {
            self.add("tags", "[…]", "have length less than or equal to 50");
        }
        if asked.transitive.len() > 50 {
            self.add("transitiveTagKeys", "[…]", "have length less than or equal to 50");
        }
    }

    fn into_result(self) -> Result<(), Refusal> {
        let count = self.0.len();
        let plural = if count == 1 { "error" } else { "errors" };
        match count {
            0 => Ok(()),
            _ => Err(Refusal::validation(format!(
                "{count} validation {plural} detected: {}",
                self.0.join("; ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            role_arn: "arn:aws-us-gov:iam::123456789012:role/team/sub/reader".to_owned(),
            session_name: "shop@web-0".to_owned(),
            ..Asked::default()
        }
    }

    fn with_tags(tags: &[(&str, &str)]) -> Asked {
        let tag = |&(key, value): &(&str, &str)| Tag { key: key.into(), value: value.into() };
        Asked { tags: tags.iter().map(tag).collect(), ..asked() }
    }

    #[track_caller]
    fn refused(asked: &Asked, part: &str) {
        let limits = Limits { role_chaining: true, inherited: &BTreeMap::new() };
        let refusal = assume_role(asked, &limits).unwrap_err();
        assert_eq!(refusal.code, "ValidationError");
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }

    #[test]
    fn a_good_call_passes() {
        let limits = Limits { role_chaining: true, inherited: &BTreeMap::new() };
        let checked = assume_role(&asked(), &limits).unwrap();
        assert_eq!(checked.duration, 3600);
        assert_eq!(checked.role.path, "/team/sub/");
        assert_eq!(checked.role.name, "reader");
    }

    #[test]
    fn arns_that_are_not_of_a_role_are_refused() {
        for arn in [
            "arn:aws:iam::123456789012:user/somebody",
            "arn:aws:iam::12345678901:role/too-short",
            "arn:aws:iam:us-west-2:123456789012:role/region",
            "arn:aws:iam::123456789012:role/spaced name",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:roles/name",
        ] {
            refused(&Asked { role_arn: arn.to_owned(), ..asked() }, "is invalid");
        }
    }

    #[test]
    fn session_names_have_two_to_sixty_four_word_characters() {
        let named = |name: &str| Asked { session_name: name.to_owned(), ..asked() };
        refused(&named("x"), "greater than or equal to 2");
        refused(&named(&"x".repeat(65)), "less than or equal to 64");
        refused(&named("shop/web"), r"pattern: [\w+=,.@-]*");
        refused(&named("a:"), "1 validation error");
    }

    #[test]
    fn durations_are_between_a_quarter_of_an_hour_and_twelve_hours() {
        let lasting = |text: &str| Asked { duration: Some(text.to_owned()), ..asked() };
        refused(&lasting("899"), "greater than or equal to 900");
        refused(&lasting("43201"), "less than or equal to 43200");
        refused(&lasting("1h"), "integer");
        refused(&lasting("3601"), "role chaining");
        let limits = Limits { role_chaining: false, inherited: &BTreeMap::new() };
        assert_eq!(assume_role(&lasting("43200"), &limits).unwrap().duration, 43_200);
    }

    #[test]
    fn tags_are_counted_measured_and_told_apart_without_case() {
        refused(&with_tags(&[("Team", "a"), ("team", "b")]), "case insensitive");
        refused(&with_tags(&[("", "a")]), "greater than or equal to 1");
        refused(&with_tags(&[("key", "semi;colon")]), "tags.1.member.value");
        refused(&with_tags(&[("aws:key", "a")]), "reserved");
        refused(&with_tags(&[("k", &"v".repeat(257))]), "less than or equal to 256");
        let many: Vec<String> = (0..51).map(|at| format!("key{at}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
        refused(&with_tags(&many), "less than or equal to 50");
    }

    #[test]
    fn transitive_keys_are_tags_and_inherited_ones_cannot_be_set_again() {
        let transitive = Asked { transitive: vec!["other".into()], ..with_tags(&[("key", "a")]) };
        refused(&transitive, "must be included");
        let inherited = BTreeMap::from([("KEY".to_owned(), "before".to_owned())]);
        let limits = Limits { role_chaining: true, inherited: &inherited };
        let refusal = assume_role(&with_tags(&[("key", "a")]), &limits).unwrap_err();
        assert!(refusal.message.contains("calling session"), "{}", refusal.message);
    }

    #[test]
    fn tags_that_do_not_fit_the_packed_size_are_refused() {
        let long = "v".repeat(256);
        let keys: Vec<String> = (0..20).map(|at| format!("key{at}")).collect();
        let tags: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), &*long)).collect();
        let limits = Limits { role_chaining: true, inherited: &BTreeMap::new() };
        let refusal = assume_role(&with_tags(&tags), &limits).unwrap_err();
        assert_eq!(refusal.code, "PackedPolicyTooLarge");
    }
}
