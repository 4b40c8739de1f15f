//! What the agent needs of the API server: an answer, and rights.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::Finding;
use crate::report::Chain;

const CHECK: &str = "rights";

/// A right, and what is not there without it.
struct Right {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    /// Whether the agent does nothing without it.
    needed: bool,
    without: &'static str,
}

const RIGHTS: [Right; 6] = [
    Right {
        group: "",
        resource: "pods",
        verbs: &["list", "watch"],
        needed: true,
        without: "no pod is known, and none gets a role",
    },
    Right {
        group: "",
        resource: "namespaces",
        verbs: &["list", "watch"],
        needed: true,
        without: "no pod annotation is permitted, since the Namespace's policy is not known",
    },
    Right {
        group: "",
        resource: "serviceaccounts",
        verbs: &["list", "watch"],
        needed: true,
        without: "no ServiceAccount annotation is known, and its pods get no role",
    },
    Right {
        group: "podrole.dev",
        resource: "roleassociations",
        verbs: &["list", "watch"],
        needed: true,
        without: "whether an association applies is not known, and no pod gets a role",
    },
    Right {
        group: "",
        resource: "nodes",
        verbs: &["list", "watch"],
        needed: false,
        without: "the label podrole.dev/mode of this node is not known, and --mode holds",
    },
    Right {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create"],
        needed: false,
        without: "refusals do not show on their pods",
    },
];

/// Asks for each right that the agent uses, with the identity that this command has.
pub(super) async fn rights() -> Vec<Finding> {
    let client = match crate::app::api_server::connect().await {
        Ok(client) => client,
        Err(error) => {
            let mend =
                "set KUBECONFIG to a readable kubeconfig, or run in a pod with a ServiceAccount";
            return vec![Finding::bad("API server", Chain(&error).to_string(), mend)];
        }
    };
    let reviews = Api::all(client);
    let mut findings = Vec::new();
    for right in &RIGHTS {
        match lacking(&reviews, right).await {
            Ok(lacking) if lacking.is_empty() => {}
            Ok(lacking) => findings.push(right.finding(&lacking)),
            Err(error) => {
                let mend = "is the API server reachable from this node, and is the kubeconfig's user known there?";
                return vec![Finding::bad("API server", Chain(&error).to_string(), mend)];
            }
        }
    }
    if findings.is_empty() {
        let all = RIGHTS.map(|right| format!("{} {}", right.verbs.join("/"), right.name()));
        findings.push(Finding::good(CHECK, all.join(", ")));
    }
    findings.insert(0, Finding::good("API server", "answers"));
    findings
}

/// The verbs that we may not.
async fn lacking(
    reviews: &Api<SelfSubjectAccessReview>,
    right: &Right,
) -> Result<Vec<&'static str>, kube::Error> {
    let mut lacking = Vec::new();
    for verb in right.verbs {
        let attributes = ResourceAttributes {
            group: Some(right.group.into()),
            resource: Some(right.resource.into()),
            verb: Some((*verb).into()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = reviews.create(&PostParams::default(), &review).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacking.push(*verb);
        }
    }
    Ok(lacking)
}

impl Right {
    fn name(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    fn finding(&self, lacking: &[&str]) -> Finding {
        let found = format!("may not {} {}: {}", lacking.join(" and "), self.name(), self.without);
        let mend = format!(
            "give its ServiceAccount the verbs {} on {} (deploy/rbac.yaml)",
            self.verbs.join(", "),
            self.name()
        );
        if self.needed {
            Finding::bad(CHECK, found, mend)
        } else {
            Finding::unsure(CHECK, found, mend)
        }
    }
}
