//! `podrole explain` by somebody who may not exec in the agents' pods: the rules are asked here, with the
//! settings that the agents' `DaemonSet` writes. Nothing is known of the pod's session.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1 as core;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};

use super::explain::{About, Explanation, compose};
use super::remote::{DEADLINE, LABEL, RemoteError, within};
use crate::callers::watch;
use crate::credentials::trust::Known;
use crate::operate::metrics::Watches as Silence;
use crate::roles::lookups::watches::Watches;
use crate::settings::{Container, Elsewhere};

/// Whether whoever asks may exec in the pods of `namespace`. If that cannot be told, kubectl will tell.
pub(super) async fn may_exec(client: &Client, namespace: &str) -> bool {
    let exec = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        resource: Some("pods".to_owned()),
        subresource: Some("exec".to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(exec),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let parameters = PostParams::default();
    let answer = within("one's rights", api.create(&parameters, &review)).await;
    let allowed = |review: SelfSubjectAccessReview| review.status.map(|status| status.allowed);
    answer.ok().and_then(allowed).unwrap_or(true)
}

/// Explains `pod`, which is on `node`, by the settings of the agents in the namespace `agents`.
pub(super) async fn explain(
    client: &Client,
    pod: &core::Pod,
    node: &str,
    agents: &str,
) -> Result<Explanation, RemoteError> {
    let (name, container) = agent(client, node, agents).await?;
    let shown = format!("{agents}/{name}");
    let Elsewhere { settings, mut unknown } = container
        .settings(node)
        .map_err(|source| RemoteError::Settings { daemon_set: shown.clone(), source })?;
    let rules = &settings.rules;
    let annotations = rules.keys.of_pods().map(str::to_owned).collect();
    let labels = rules.labels_of_pods().map(str::to_owned).collect();
    let pod = watch::trimmed(pod, annotations, labels).ok_or(RemoteError::Unreadable)?;
    let labels = rules.labels_of_namespaces().map(str::to_owned).collect();
    let watches = Watches::new(client.clone(), rules.keys.clone(), labels, Silence::default());
    let facts = watches.facts(rules, &pod, DEADLINE).await;
    let told_by = format!("the settings of DaemonSet {shown}: exec in its pods is not allowed");
    let (plan, host_network) = (&settings.plan, &settings.host_network());
    let about = About { told_by: &told_by, plan, host_network, known: Known::default() };
    unknown.insert(0, "the state of the pod's credentials".to_owned());
    Ok(Explanation { unknown, ..compose(&pod, &rules.trace(&pod, &facts), about) })
}

/// The `DaemonSet`'s name and the agent's container.
async fn agent(
    client: &Client,
    node: &str,
    agents: &str,
) -> Result<(String, Container), RemoteError> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), agents);
    let labelled = ListParams::default().labels(LABEL);
    let found = within("the agents' DaemonSet", api.list(&labelled)).await?.items;
    let name = |set: &DaemonSet| set.metadata.name.clone().unwrap_or_default();
    let namespace = agents.to_owned();
    let set = match found.as_slice() {
        [] => return Err(RemoteError::NoDaemonSet { namespace }),
        [set] => set,
        several => {
            let names = several.iter().map(name).collect::<Vec<_>>().join(", ");
            return Err(RemoteError::DaemonSets { namespace, names });
        }
    };
    let pod = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.into_iter().flat_map(|pod| &pod.containers);
    let mut containers = containers.map(|container| started(container, node));
    let agent = containers.find(Container::is_agent);
    let shown = format!("{agents}/{}", name(set));
    Ok((name(set), agent.ok_or(RemoteError::NoContainer { daemon_set: shown })?))
}

/// How the container is started on `node`.
fn started(container: &core::Container, node: &str) -> Container {
    let core::Container { command, args, env, env_from, .. } = container;
    let value = |variable: &core::EnvVar| match &variable.value_from {
        None => Some(variable.value.clone().unwrap_or_default()),
        Some(source) => {
            let field = source.field_ref.as_ref().map(|field| field.field_path.as_str());
            (field == Some("spec.nodeName")).then(|| node.to_owned())
        }
    };
    let environment = env.iter().flatten();
    Container {
        arguments: command.iter().chain(args).flatten().cloned().collect(),
        environment: environment.map(|variable| (variable.name.clone(), value(variable))).collect(),
        has_more: env_from.as_ref().is_some_and(|sources| !sources.is_empty()),
    }
}
