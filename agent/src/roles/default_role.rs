//! `--default-role`: a role for pods that nothing maps, maybe another for each namespace or
//! ServiceAccount.

use super::annotations::{self, RoleError};
use super::arn::{BaseRoleArn, RoleArn};

const NAMESPACE: &str = "{namespace}";
const SERVICE_ACCOUNT: &str = "{serviceAccount}";

/// A role, in which `{namespace}` and `{serviceAccount}` stand for the pod's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRole(Box<str>);

/// Why a text is no default role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefaultRoleError {
    /// A brace that is of neither placeholder.
    #[error("only {NAMESPACE} and {SERVICE_ACCOUNT} may stand in it")]
    Placeholder,
    /// It would name no role.
    #[error(transparent)]
    Role(RoleError),
}

impl DefaultRole {
    /// Checks a template, as far as it can be told without a pod. `base` completes a bare name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(template: &str, base: Option<&BaseRoleArn>) -> Result<Self, DefaultRoleError> {
        if fill(template, "", "").contains(['{', '}']) {
            return Err(DefaultRoleError::Placeholder);
        }
        let role = Self(template.into());
        role.of("n", "s", base).map_err(DefaultRoleError::Role)?;
        Ok(role)
    }

    /// The role of a pod of this namespace and ServiceAccount.
    ///
    /// # Errors
    /// Where the filled template names no role, such as one that is too long.
    pub fn of(
        &self,
        namespace: &str,
        service_account: &str,
        base: Option<&BaseRoleArn>,
    ) -> Result<RoleArn, RoleError> {
        annotations::role(&fill(&self.0, namespace, service_account), base)
    }

    /// As it was written.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.0
    }
}

fn fill(template: &str, namespace: &str, service_account: &str) -> String {
    template.replace(NAMESPACE, namespace).replace(SERVICE_ACCOUNT, service_account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BaseRoleArn {
        "arn:aws:iam::123456789012:role/".parse().unwrap()
    }

    #[test]
    fn placeholders_become_the_pods_own() {
        let role = DefaultRole::new("pods/{namespace}/{serviceAccount}", Some(&base())).unwrap();
        let arn = role.of("shop", "cart", Some(&base())).unwrap();
        assert_eq!(arn.as_str(), "arn:aws:iam::123456789012:role/pods/shop/cart");
        let whole = DefaultRole::new("arn:aws:iam::210987654321:role/plain", None).unwrap();
        assert_eq!(whole.of("shop", "cart", None).unwrap().name(), "plain");
    }

    #[test]
    fn templates_that_can_name_no_role_are_refused() {
        use DefaultRoleError::{Placeholder, Role};
        assert_eq!(DefaultRole::new("{pod}", Some(&base())), Err(Placeholder));
        assert_eq!(DefaultRole::new("x}", Some(&base())), Err(Placeholder));
        assert_eq!(DefaultRole::new("{namespace}", None), Err(Role(RoleError::NoBase)));
        assert_eq!(DefaultRole::new("", Some(&base())), Err(Role(RoleError::Empty)));
        assert!(matches!(DefaultRole::new("a b", Some(&base())), Err(Role(RoleError::Arn(_)))));
    }

    #[test]
    fn a_name_that_is_too_long_when_filled_is_refused_then() {
        let role = DefaultRole::new("{namespace}", Some(&base())).unwrap();
        assert!(role.of(&"n".repeat(65), "s", Some(&base())).is_err());
    }
}
