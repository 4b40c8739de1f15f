//! The agent's settings as a container's command line and environment write them, read by somebody who is
//! not on the node. Pure: the environment of this process has no part in it.

use clap::{Args as _, Command, FromArgMatches as _};

use super::arguments::AgentArguments;
use super::{Mistakes, Settings};
use crate::roles::Base;

/// What the agent's container calls first.
const COMMAND: &str = "agent";

/// How a container is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `command` and `args`, in this order.
    pub arguments: Vec<String>,
    /// `env`; no value where another object has it.
    pub environment: Vec<(String, Option<String>)>,
    /// Whether there is an `envFrom`, of which nothing is known.
    pub has_more: bool,
}

/// The settings, as far as they can be told from there.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// With the defaults for what is not known.
    pub settings: Settings,
    /// What is not known, in words.
    pub unknown: Vec<String>,
}

/// Why they cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// A flag that this version does not know, or that is written wrongly.
    #[error("{0}; is the agent of another version than this command?")]
    Usage(String),
    /// Values that the agent refuses too, or that are wrong only for want of what is not known.
    #[error("{mistakes}{}", missing(unknown))]
    Mistakes {
        /// What is wrong.
        mistakes: Mistakes,
        /// What is not known.
        unknown: Vec<String>,
    },
}

impl Container {
    /// Whether it runs `podrole agent`.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.arguments.iter().any(|argument| argument == COMMAND)
    }

    /// The settings of the agent on `node`.
    ///
    /// # Errors
    /// [`ContainerError`]
    pub fn settings(&self, node: &str) -> Result<Elsewhere, ContainerError> {
        let mut unknown = Vec::new();
        let environment = self.expanded_environment();
        let mut line = self.line(&environment, &mut unknown);
        let command = AgentArguments::augment_args(Command::new(COMMAND).no_binary_name(true));
        let flag_of = |name: &str| {
            let mut flags = command.get_arguments();
            let flag = flags.find(|flag| flag.get_env().is_some_and(|env| env == name))?;
            flag.get_long()
        };
        for (at, (name, value)) in environment.iter().enumerate() {
            let Some(flag) = flag_of(name) else { continue };
            // The later of two variables counts, and flags count more than any.
            let again = environment.iter().skip(at + 1).any(|(other, _)| other == name);
            if again || is_given(&line, flag) {
                continue;
            }
            match value {
                Some(value) => line.push(format!("--{flag}={value}")),
                None => unknown.push(format!("--{flag}: {name} comes from another object")),
            }
        }
        if self.has_more {
            unknown.push("what the container's envFrom brings".to_owned());
        }
        if !is_given(&line, "node-name") {
            line.push(format!("--node-name={node}"));
        }
        let command = command.mut_args(|flag| flag.env(None::<&'static str>));
        let arguments = command
            .try_get_matches_from(line)
            .and_then(|matches| AgentArguments::from_arg_matches(&matches))
            .map_err(|error| ContainerError::Usage(first_line(&error)))?;
        match Settings::from_arguments(arguments) {
            Ok(settings) => {
                if settings.rules.base == Base::Own {
                    let auto = "--base-role-arn=auto: the account of the agent's own identity";
                    unknown.push(auto.to_owned());
                }
                Ok(Elsewhere { settings, unknown })
            }
            Err(mistakes) => Err(ContainerError::Mistakes { mistakes, unknown }),
        }
    }

    /// Each value with the variables before it filled in.
    fn expanded_environment(&self) -> Vec<(String, Option<String>)> {
        let mut expanded: Vec<(String, Option<String>)> = Vec::new();
        for (name, value) in &self.environment {
            let value = value.as_deref().and_then(|value| expand(value, &expanded).ok());
            expanded.push((name.clone(), value));
        }
        expanded
    }

    /// What follows the command, without flags whose values are not known.
    fn line(
        &self,
        environment: &[(String, Option<String>)],
        unknown: &mut Vec<String>,
    ) -> Vec<String> {
        let mut line: Vec<String> = Vec::new();
        let after = self.arguments.iter().skip_while(|argument| *argument != COMMAND).skip(1);
        for argument in after {
            match expand(argument, environment) {
                Ok(argument) => line.push(argument),
                Err(name) => {
                    // `--flag=$(NAME)`, or `--flag` and then `$(NAME)`.
                    let flag = match argument.split_once('=') {
                        Some((flag, _)) if flag.starts_with("--") => flag.to_owned(),
                        _ => line.pop().unwrap_or_default(),
                    };
                    unknown.push(format!("{flag}: {name} comes from another object"));
                }
            }
        }
        line
    }
}

fn is_given(line: &[String], flag: &str) -> bool {
    let mut names = line.iter().filter_map(|argument| argument.strip_prefix("--"));
    names.any(|name| name.split('=').next() == Some(flag))
}

/// `$(NAME)` becomes the variable's value; that of an unknown variable stays (Kubernetes API reference,
/// "Container": `args`). The error is the name of a variable whose value is not known.
fn expand(text: &str, variables: &[(String, Option<String>)]) -> Result<String, String> {
    let mut text = text.to_owned();
    // The later of two variables counts.
    for (name, value) in variables.iter().rev() {
        let reference = format!("$({name})");
        if text.contains(&reference) {
            text = text.replace(&reference, value.as_deref().ok_or_else(|| name.clone())?);
        }
    }
    Ok(text)
}

fn first_line(error: &clap::Error) -> String {
    let said = error.to_string();
    let line = said.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

fn missing(unknown: &[String]) -> String {
    if unknown.is_empty() {
        return String::new();
    }
    format!(" (not known here: {})", unknown.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::plan::SessionTags;

    fn container(arguments: &[&str], environment: &[(&str, Option<&str>)]) -> Container {
        let variable =
            |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        Container {
            arguments: arguments.iter().map(|&argument| argument.into()).collect(),
            environment: environment.iter().map(variable).collect(),
            has_more: false,
        }
    }

    #[test]
    fn flags_and_variables_are_those_of_the_agent() {
        let told = container(
            &["/podrole", "agent", "--cluster-name", "prod", "--session-duration=$(LONG)"],
            &[
                ("LONG", Some("2h")),
                ("PODROLE_SESSION_TAGS", Some("workload,untagged-fallback")),
                ("PODROLE_CLUSTER_NAME", Some("flags count more")),
                ("PATH", Some("/bin")),
            ],
        );
        let told = told.settings("node-1").unwrap();
        assert!(told.unknown.is_empty(), "{:?}", told.unknown);
        let plan = told.settings.plan;
        assert_eq!(plan.cluster_name.as_deref(), Some("prod"));
        assert_eq!((plan.tags, plan.untagged_fallback), (SessionTags::Workload, true));
        assert_eq!(plan.duration.as_secs(), 7200);
        assert_eq!(told.settings.node_name, "node-1");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let mut told = container(
            &["agent", "--cluster-name=prod", "--cluster-arn", "$(ARN)", "--base-role-arn=auto"],
            &[("ARN", None), ("PODROLE_DEFAULT_ROLE", None)],
        );
        told.has_more = true;
        let unknown = told.settings("node-1").unwrap().unknown;
        let told: Vec<_> = unknown.iter().filter_map(|it| it.split([':', ' ']).next()).collect();
        assert_eq!(told, ["--cluster-arn", "--default-role", "what", "--base-role-arn=auto"]);
    }

    #[test]
    fn what_the_agent_would_refuse_is_refused() {
        let refused = |arguments: &[&str], environment: &[(&str, Option<&str>)]| {
            container(arguments, environment).settings("node-1").unwrap_err().to_string()
        };
        let newer = refused(&["agent", "--of-tomorrow"], &[]);
        assert!(newer.contains("--of-tomorrow") && newer.contains("version"), "{newer}");
        let nameless = refused(&["agent"], &[("PODROLE_CLUSTER_NAME", None)]);
        assert!(nameless.contains("(not known here: --cluster-name"), "{nameless}");
    }
}
