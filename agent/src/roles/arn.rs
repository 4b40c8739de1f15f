//! Role ARNs (IAM User Guide, "IAM identifiers"; AWS STS API Reference, "AssumeRole").

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest role name IAM allows, in characters.
const NAME_MAX: usize = 64;
/// The longest path IAM allows, in characters, its slashes included.
const PATH_MAX: usize = 512;

/// The ARN of an IAM role: `arn:PARTITION:iam::ACCOUNT:role[/PATH]/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoleArn {
    arn: Box<str>,
    partition: Range<usize>,
    account: Range<usize>,
    /// From the path's first character to the name's last: `PATH/NAME`.
    resource: Range<usize>,
    name: usize,
}

/// Why a text is no role ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Not `arn:…:iam::…:role/…` at all.
    #[error("not of the form arn:PARTITION:iam::ACCOUNT:role/NAME")]
    Form,
    /// The partition is none of AWS's.
    #[error("the partition is not `aws` or `aws-…`")]
    Partition,
    /// The account id is not twelve digits.
    #[error("the account is not 12 digits")]
    Account,
    /// The role name is empty, too long, or has a character that IAM does not allow.
    #[error("the role name is not 1 to 64 of letters, digits and _+=,.@-")]
    Name,
    /// The path is too long or has a character that IAM does not allow.
    #[error("the role's path is not up to 512 printable ASCII characters without empty parts")]
    Path,
}

impl RoleArn {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(&self.partition)
    }

    /// The twelve digits of the account.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(&self.account)
    }

    /// The role's name, without its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(&(self.name..self.arn.len()))
    }

    /// The role's path and name, `PATH/NAME`, or the name alone where there is no path.
    #[must_use]
    pub fn path_and_name(&self) -> &str {
        self.part(&self.resource)
    }

    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    fn part(&self, range: &Range<usize>) -> &str {
        // The ranges were cut from this very text.
        self.arn.get(range.clone()).unwrap_or_default()
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

impl Serialize for RoleArn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.arn)
    }
}

impl<'de> Deserialize<'de> for RoleArn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let arn = Box::<str>::deserialize(deserializer)?;
        arn.parse().map_err(D::Error::custom)
    }
}

impl FromStr for RoleArn {
    type Err = ArnError;

    fn from_str(arn: &str) -> Result<Self, ArnError> {
        let mut fields = arn.splitn(6, ':');
        let mut next = || fields.next().ok_or(ArnError::Form);
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        if scheme != "arn" || service != "iam" || !region.is_empty() {
            return Err(ArnError::Form);
        }
        let path_and_name = resource.strip_prefix("role/").ok_or(ArnError::Form)?;
        check_partition(partition)?;
        check_account(account)?;
        let name = check_path_and_name(path_and_name)?;
        let end = arn.len();
        let account_start = "arn:".len() + partition.len() + ":iam::".len();
        Ok(Self {
            arn: arn.into(),
            partition: 4..4 + partition.len(),
            account: account_start..account_start + account.len(),
            resource: end - path_and_name.len()..end,
            name: end - name.len(),
        })
    }
}

fn check_partition(partition: &str) -> Result<(), ArnError> {
    let rest = partition.strip_prefix("aws").ok_or(ArnError::Partition)?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    let named = rest.strip_prefix('-').is_some_and(|name| !name.is_empty());
    if rest.is_empty() || (named && rest.chars().all(plain)) {
        Ok(())
    } else {
        Err(ArnError::Partition)
    }
}

fn check_account(account: &str) -> Result<(), ArnError> {
    let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(()) } else { Err(ArnError::Account) }
}

/// Checks `PATH/NAME` and returns the name.
fn check_path_and_name(path_and_name: &str) -> Result<&str, ArnError> {
    let (path, name) = match path_and_name.rsplit_once('/') {
        Some((path, name)) => (Some(path), name),
        None => (None, path_and_name),
    };
    let in_name = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(in_name) {
        return Err(ArnError::Name);
    }
    path.map_or(Ok(()), check_path)?;
    Ok(name)
}

/// `path` is without its outer slashes.
fn check_path(path: &str) -> Result<(), ArnError> {
    let good = path.len() + 2 <= PATH_MAX
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && path.split('/').all(|part| !part.is_empty());
    if good { Ok(()) } else { Err(ArnError::Path) }
}

/// What bare role names are completed with: `arn:PARTITION:iam::ACCOUNT:role[/PATH]/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseRoleArn(Box<str>);

impl BaseRoleArn {
    /// The ARN of `NAME` or `PATH/NAME` under this base.
    ///
    /// # Errors
    /// What is wrong with the name or its path.
    pub fn role(&self, path_and_name: &str) -> Result<RoleArn, ArnError> {
        format!("{}{path_and_name}", self.0).parse()
    }

    /// The base of the roles without a path of an account.
    ///
    /// # Errors
    /// What is wrong with the partition or the account.
    pub fn of_account(partition: &str, account: &str) -> Result<Self, ArnError> {
        format!("arn:{partition}:iam::{account}:role/").parse()
    }

    /// With its last slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseRoleArn {
    type Err = ArnError;

    /// With or without its last slash, as kube2iam and kiam take it.
    fn from_str(base: &str) -> Result<Self, ArnError> {
        let base = format!("{}/", base.strip_suffix('/').unwrap_or(base));
        let completed = Self(base.into());
        // A name of one letter is good, so whatever is wrong is wrong with the base.
        completed.role("x")?;
        Ok(completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_taken_apart() {
        let arn: RoleArn = "arn:aws-us-gov:iam::123456789012:role/team/a/web=1".parse().unwrap();
        assert_eq!(arn.partition(), "aws-us-gov");
        assert_eq!(arn.account(), "123456789012");
        assert_eq!(arn.name(), "web=1");
        assert_eq!(arn.path_and_name(), "team/a/web=1");
        let plain: RoleArn = "arn:aws:iam::123456789012:role/web".parse().unwrap();
        assert_eq!((plain.name(), plain.path_and_name()), ("web", "web"));
    }

    #[test]
    fn each_malformed_arn_says_what_is_wrong() {
        let long_name = format!("arn:aws:iam::123456789012:role/{}", "a".repeat(65));
        let long_path = format!("arn:aws:iam::123456789012:role/{}/a", "p".repeat(511));
        let cases = [
            ("", ArnError::Form),
            ("web", ArnError::Form),
            ("arn:aws:iam::123456789012:user/web", ArnError::Form),
            ("arn:aws:sts::123456789012:role/web", ArnError::Form),
            ("arn:aws:iam:us-east-1:123456789012:role/web", ArnError::Form),
            ("arn:gcp:iam::123456789012:role/web", ArnError::Partition),
            ("arn:aws-:iam::123456789012:role/web", ArnError::Partition),
            ("arn:awsx:iam::123456789012:role/web", ArnError::Partition),
            ("arn:aws:iam::12345678901:role/web", ArnError::Account),
            ("arn:aws:iam::12345678901a:role/web", ArnError::Account),
            ("arn:aws:iam::123456789012:role/", ArnError::Name),
            ("arn:aws:iam::123456789012:role/we b", ArnError::Name),
            ("arn:aws:iam::123456789012:role/web\n", ArnError::Name),
            ("arn:aws:iam::123456789012:role/wéb", ArnError::Name),
            ("arn:aws:iam::123456789012:role//web", ArnError::Path),
            ("arn:aws:iam::123456789012:role/a//web", ArnError::Path),
            ("arn:aws:iam::123456789012:role/a b/web", ArnError::Path),
            (&long_name, ArnError::Name),
            (&long_path, ArnError::Path),
        ];
        for (arn, wrong) in cases {
            assert_eq!(arn.parse::<RoleArn>().unwrap_err(), wrong, "{arn:?}");
        }
    }

    #[test]
    fn a_base_completes_names_and_paths() {
        for base in ["arn:aws-cn:iam::123456789012:role", "arn:aws-cn:iam::123456789012:role/"] {
            let base: BaseRoleArn = base.parse().unwrap();
            let role = base.role("team/web").unwrap();
            assert_eq!(role.as_str(), "arn:aws-cn:iam::123456789012:role/team/web");
        }
        let base: BaseRoleArn = "arn:aws:iam::123456789012:role/team/".parse().unwrap();
        assert_eq!(base.role("web").unwrap().path_and_name(), "team/web");
    }

    #[test]
    fn a_base_of_another_kind_is_refused() {
        assert_eq!("arn:aws:iam::1:role/".parse::<BaseRoleArn>(), Err(ArnError::Account));
        assert_eq!("role".parse::<BaseRoleArn>(), Err(ArnError::Form));
    }
}
