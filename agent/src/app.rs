//! The one place that knows every part: [`build`] makes and binds them all, [`Bound::run`] attaches
//! the programs and lives until told to stop.

mod answers;
mod api_server;
mod asks;
mod assign;
mod attach;
mod check;
mod claim;
pub mod inspect;
mod listen;
mod metadata;
mod modes;
mod node;
mod own_base;
mod run;
#[cfg(test)]
mod scale;
mod seat;
mod standing;
mod tested;
mod trials;
mod unreachable;
mod upgrade;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::time::sleep;
use tracing::{info, warn};

use self::answers::{Knowing, Own};
use self::assign::Assigner;
pub use self::attach::attach;
pub use self::check::check;
pub use self::claim::ClaimError;
pub use self::listen::ListenError;
use self::modes::Parts;
use self::node::Node;
use self::own_base::own_base;
use self::seat::{Seat, Seated};
use self::trials::Trier;
pub use self::upgrade::UpgradeError;

use crate::callers::Callers;
use crate::callers::fresh::Fresh;
use crate::callers::pods::Index;
use crate::callers::snapshot::Snapshot;
use crate::callers::watch::{Remembered, Watch};
use crate::clock::Clock;
use crate::credentials::Broker;
use crate::credentials::aws::Aws;
use crate::credentials::sources::Sources;
use crate::credentials::sts::Sts;
use crate::credentials::token_request::TokenRequests;
use crate::credentials::tokens::Tokens;
use crate::credentials::trials::Trials;
use crate::kernel::{Hook, KernelError};
use crate::metadata::asks::Asks;
use crate::metadata::{Handler, KeyError, Keyring, WorkedOut};
use crate::operate::control::server::SocketError;
use crate::operate::events::{self, Events};
use crate::operate::metrics::{self, Metrics};
use crate::operate::node_object::NodeObject;
use crate::operate::readiness::Readiness;
use crate::operate::supervisor::Ended;
use crate::report::Chain;
use crate::roles::lookups::watches::Watches;
use crate::roles::{Lookups, Memory, Roles, Rules};
use crate::settings::{IdentityMode, Settings};

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says how to reach the API server.
    #[error(
        "no Kubernetes client; set KUBECONFIG to a readable kubeconfig, or run in a pod with a ServiceAccount"
    )]
    Kubernetes(#[source] Box<kube::Error>),
    /// The kernel does not do its part.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Another podrole runs on this node.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Another podrole runs on this node, and does not make way.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// A socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The other commands cannot ask.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The key of tokens cannot be read or made.
    #[error("no key for IMDSv2 tokens in --state-dir")]
    Keys(#[from] KeyError),
    /// The process may have no thread beside the runtime's.
    #[error("cannot start the watchdog's thread")]
    Thread(#[source] std::io::Error),
    /// A part that must live has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// What the agent speaks to, outside of this node's kernel.
pub struct Edges {
    /// The time of day.
    pub clock: Clock,
    /// The API server.
    pub kubernetes: kube::Client,
    /// Where credentials come from.
    pub sources: Sources,
    /// The same, for roles that are only tried.
    pub trials: Sources,
    /// STS, for who the agent is.
    pub own: Sts,
}

impl Edges {
    /// The real ones, from the environment.
    ///
    /// # Errors
    /// Where the environment does not say how to reach the API server. That it answers is not needed yet. AWS's
    /// region is waited for.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let clock = Clock::system();
        let kubernetes =
            api_server::connect().await.map_err(|error| Error::Kubernetes(Box::new(error)))?;
        let aws = aws().await;
        let requests = settings.plan.token_requests.then(|| TokenRequests::new(kubernetes.clone()));
        let kubelet = settings.kubelet_dir.clone();
        let tokens = Tokens { kubelet, requests, clock: clock.clone() };
        let sources = Sources::new(&aws, &tokens, &clock);
        let trials = Sources::new(&aws, &tokens, &clock);
        let own = Sts::new(aws, clock.clone());
        Ok(Self { clock, kubernetes, sources, trials, own })
    }
}

/// Between two looks for a region where none was found: the metadata service may be slower than the agent.
const REGION_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The way to AWS, as soon as its region is known.
async fn aws() -> Aws {
    let mut is_told = false;
    loop {
        match Aws::from_environment().await {
            Ok(aws) => return aws,
            Err(error) if !is_told => {
                warn!(error = %Chain(&error), "pods are refused until a region is found; trying again");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(REGION_AGAIN_AFTER).await;
    }
}

/// Something that is to be run as long as the agent lives.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everything made and bound; nothing attached and nothing served yet.
pub struct Bound {
    seated: Seated,
    knowing: Knowing,
    handler: Handler,
    watch: Watch,
    assigner: Assigner,
    modes: Parts,
    asks: Asks,
    tasks: Vec<(&'static str, Task)>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// Makes all parts and binds all sockets.
///
/// # Errors
/// The first part that cannot be had; nothing is attached then.
pub async fn build(settings: Settings, edges: Edges) -> Result<Bound, Error> {
    let Edges { clock, kubernetes, mut sources, trials: apart, own } = edges;
    say_limits(&settings);
    let (readiness, fresh) = (Readiness::default(), Fresh::default());
    let listen = listen::once_there(settings.kernel.listen).await;
    let (keys, rotation) = Keyring::open(settings.state_dir.clone(), clock.clone())?;
    let mut seat = Seat::take(&settings, listen).await?;
    let (node, duty) = (&mut seat.node, seat.duty.clone());
    let node_object = node_object(&settings, &kubernetes, &clock);
    let (client, name) = (kubernetes.clone(), settings.node_name.clone());
    let (events, writer) = events::Writer::new(client, clock.clone(), name, duty.clone());
    let (index, pods) = channel::channel(Index::default());
    let mut metrics = Metrics::new(settings.metrics_by_namespace);
    let identity = node.identity(&settings.callers, listen, &metrics)?;
    let (host, meters) = (settings.host_network(), metrics.identities.clone());
    let callers = Callers::new(pods.clone(), identity, host.clone(), fresh.clone(), meters);
    measure(node, &mut sources, &mut metrics, &callers, &readiness);
    let own_base = own_base(&sources.sts, &settings.rules.base);
    let (sts, learned) = (sources.sts.clone(), sources.memory());
    let (broker, broker_task) = Broker::new(sources, clock.clone(), metrics.sessions.clone());
    let (node_metadata, node_metadata_task) =
        metadata::connect(&settings.metadata, &kubernetes, &settings.node_name, &metrics);
    let snapshot = snapshot(&settings);
    let remembered = Remembered::load(&snapshot, node.pods.clone());
    let watches = metrics.watches.clone();
    let watch = watch(&settings, kubernetes.clone(), fresh, remembered, watches.clone(), index);
    let snapshot = snapshot.follow(pods.clone(), duty.clone());
    let memory = Memory::new(&settings.state_dir, &settings.node_name, &settings.rules);
    let (roles, lookups) = roles_of(settings.rules, &kubernetes, pods.clone(), &events, watches);
    let lookups = lookups.remembering(memory.load());
    let about = (&settings.modes, settings.state_dir.as_path(), settings.node_name.as_str());
    let (modes, own_node) = Parts::new(about, kubernetes, pods, &roles, host);
    let modal = modes.modal.clone();
    let seated = seat.with(broker.clone(), learned)?;
    let handler = Handler {
        keys,
        callers,
        roles: roles.clone(),
        plan: settings.plan,
        broker,
        node: node_metadata,
        imds_v1: settings.metadata.imds_v1,
        limits: metadata::limits(&settings.metadata, &metrics),
        clock: clock.clone(),
        addresses: settings.kernel.metadata.addresses().collect(),
        container_credentials: settings.kernel.container_credentials,
        started: clock.now(),
        requests: metrics.requests.clone(),
        decisions: metrics.decisions.clone(),
        events,
        worked_out: WorkedOut::default(),
    };
    let (asks, trials) = (Asks::default(), Trials::default());
    let assigner = Assigner::beside(&handler, settings.prefetch, modal.clone(), asks.clone());
    let keep_asks = asks::keep(asks.clone(), &settings.state_dir, &settings.node_name, &clock);
    let heed = (modal.clone(), asks.clone(), trials.clone());
    let trial = Trier::beside(&handler, apart, heed, (duty.clone(), settings.modes.trial_spread));
    let tasks: Vec<(_, Task)> = vec![
        ("the key of tokens", Box::pin(rotation.run(duty.clone()))),
        ("the broker", Box::pin(broker_task)),
        ("the snapshot of pods", Box::pin(snapshot)),
        ("the snapshot of what roles depend on", Box::pin(roles.written_to(memory, duty.clone()))),
        ("the node's metadata", node_metadata_task),
        ("the writer of Events", Box::pin(writer.run())),
        (
            "the writer of the Node's condition",
            Box::pin(node_object.run(readiness.clone(), duty.clone())),
        ),
        ("the lookups of what roles depend on", Box::pin(lookups.run(own_base))),
        ("the watch on this node's Node", Box::pin(own_node)),
        ("the trials of roles", Box::pin(trial.run())),
        ("the writer of what was asked", Box::pin(keep_asks)),
    ];
    let metrics = Arc::new(metrics);
    let (name, of_aws) = (settings.node_name, (sts, Own::new(own), &seated.office));
    let in_kernel = (seated.node.keeper.standing.subscribe(), modal);
    let tried = (asks.clone(), trials);
    let knowing = Knowing::beside(&handler, name, &readiness, &metrics, of_aws, in_kernel, tried);
    Ok(Bound { seated, knowing, handler, watch, assigner, modes, asks, tasks, readiness, metrics })
}

fn node_object(settings: &Settings, client: &kube::Client, clock: &Clock) -> NodeObject {
    NodeObject {
        client: client.clone(),
        name: settings.node_name.clone(),
        taint: settings.startup_taint.clone(),
        clock: clock.clone(),
    }
}

/// Of this node's pods, by what is kept of them.
fn snapshot(settings: &Settings) -> Snapshot {
    let keys = settings.rules.keys.of_pods().chain(settings.rules.labels_of_pods());
    let keys = keys.map(str::to_owned).collect();
    Snapshot::new(&settings.state_dir, &settings.node_name, keys)
}

fn watch(
    settings: &Settings,
    client: kube::Client,
    fresh: Fresh,
    remembered: Remembered,
    watches: metrics::Watches,
    index: channel::Sender<Index>,
) -> Watch {
    Watch {
        client,
        node_name: settings.node_name.clone(),
        annotations: settings.rules.keys.of_pods().map(str::to_owned).collect(),
        labels: settings.rules.labels_of_pods().map(str::to_owned).collect(),
        fresh,
        remembered,
        watches,
        index,
    }
}

/// Gives the kernel's part what it counts by, and metrics what they ask for.
fn measure(
    node: &mut Node,
    sources: &mut Sources,
    metrics: &mut Metrics,
    callers: &Callers,
    readiness: &Readiness,
) {
    sources.sts.untagged = metrics.untagged_sessions.clone();
    node.keeper.lost = metrics.redirects_lost.clone();
    node.keeper.missing = metrics.missing(Hook::Forward.name());
    let known = callers.clone();
    let drops = Arc::clone(&node.keeper.drops);
    metrics.ask(drops as _, move || known.count(), readiness.clone());
}

/// What decides, and what looks up what it depends on.
fn roles_of(
    rules: Rules,
    client: &kube::Client,
    pods: channel::Receiver<Index>,
    events: &Events,
    silence: metrics::Watches,
) -> (Roles, Lookups<Watches>) {
    let labels = rules.labels_of_namespaces().map(str::to_owned).collect();
    let watches = Watches::new(client.clone(), rules.keys.clone(), labels, silence);
    Roles::new(rules, watches, pods, events.clone())
}

fn say_limits(settings: &Settings) {
    if settings.callers.identity == IdentityMode::SourceIp {
        warn!(
            "--identity source-ip: pods are told apart by their source address alone, so whoever can send and receive with a pod's address has its role"
        );
    }
    for interface in &settings.kernel.interfaces.exempt {
        warn!(
            %interface,
            "exempt from the forward guard: whatever sends through this interface has the node's role"
        );
    }
    if settings.plan.cluster_arn.is_none() {
        info!("--cluster-arn is not given, so the session tag eks-cluster-arn is left out");
    }
}
