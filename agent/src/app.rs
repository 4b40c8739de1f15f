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
mod trials;
mod unreachable;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch as channel;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::answers::{Knowing, Own};
use self::assign::Assigner;
pub use self::attach::attach;
pub use self::check::check;
use self::claim::Claim;
pub use self::claim::ClaimError;
pub use self::listen::ListenError;
use self::listen::Sockets;
use self::modes::{ModesKeeper, Parts};
use self::node::{Node, SelfTest, WayWatch};
use self::own_base::own_base;
use self::trials::Trier;

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
use crate::kernel::{Hook, KernelError, bpffs, sysctls};
use crate::metadata::asks::Asks;
use crate::metadata::{Handler, KeyError, Keyring, server};
use crate::operate::admin;
use crate::operate::control::server::SocketError;
use crate::operate::events::{self, Events};
use crate::operate::metrics::{self, Metrics};
use crate::operate::node_object::NodeObject;
use crate::operate::readiness::Readiness;
use crate::operate::shutdown::Signals;
use crate::operate::supervisor::{Ended, Supervisor};
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
    /// A socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The other commands cannot ask.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The key of tokens cannot be read or made.
    #[error("no key for IMDSv2 tokens in --state-dir")]
    Keys(#[from] KeyError),
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
    claim: Claim,
    node: Node,
    sockets: Sockets,
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
#[expect(clippy::too_many_lines, reason = "a line for each part, and the parts are many")]
pub async fn build(settings: Settings, edges: Edges) -> Result<Bound, Error> {
    let Edges { clock, kubernetes, mut sources, trials: apart, own } = edges;
    say_limits(&settings);
    let readiness = Readiness::default();
    let listen = listen::once_there(settings.kernel.listen).await;
    let (keys, rotation) = Keyring::open(settings.state_dir.clone(), clock.clone())?;
    bpffs::ensure_mounted(&settings.kernel.bpf_fs)?;
    let claim = Claim::make(&settings.kernel.bpf_fs, &settings.state_dir)?;
    let mut node = Node::prepare(&settings.kernel, listen)?;
    let sockets = Sockets::bind(&settings, listen).await?;
    let node_object = NodeObject {
        client: kubernetes.clone(),
        name: settings.node_name.clone(),
        taint: settings.startup_taint.clone(),
        clock: clock.clone(),
    };
    let (events, writer) =
        events::Writer::new(kubernetes.clone(), clock.clone(), settings.node_name.clone());
    let (index, pods) = channel::channel(Index::default());
    let mut metrics = Metrics::new(settings.metrics_by_namespace);
    let identity = node.identity(&settings.callers, listen, &metrics)?;
    let fresh = Fresh::default();
    let (host, meters) = (settings.host_network(), metrics.identities.clone());
    let callers = Callers::new(pods.clone(), identity, host.clone(), fresh.clone(), meters);
    measure(&mut node, &mut sources, &mut metrics, &callers, &readiness);
    let own_base = own_base(&sources.sts, &settings.rules.base);
    let sts = sources.sts.clone();
    let (broker, broker_task) = Broker::new(sources, clock.clone(), metrics.sessions.clone());
    let (node_metadata, node_metadata_task) =
        metadata::connect(&settings.metadata, &kubernetes, &settings.node_name, &metrics);
    let snapshot = snapshot(&settings);
    let remembered = Remembered::load(&snapshot, node.pods.clone());
    let watches = metrics.watches.clone();
    let watch = watch(&settings, kubernetes.clone(), fresh, remembered, watches.clone(), index);
    let snapshot = snapshot.follow(pods.clone());
    let memory = Memory::new(&settings.state_dir, &settings.node_name, &settings.rules);
    let (roles, lookups) = roles_of(settings.rules, &kubernetes, pods.clone(), &events, watches);
    let lookups = lookups.remembering(memory.load());
    let about = (&settings.modes, settings.state_dir.as_path(), settings.node_name.as_str());
    let (modes, own_node) = Parts::new(about, kubernetes, pods, &roles, host);
    let modal = modes.modal.clone();
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
    };
    let (asks, trials) = (Asks::default(), Trials::default());
    let assigner = Assigner::beside(&handler, settings.prefetch, modal.clone(), asks.clone());
    let keep_asks = asks::keep(asks.clone(), &settings.state_dir, &settings.node_name, &clock);
    let heed = (modal.clone(), asks.clone(), trials.clone());
    let trial = Trier::beside(&handler, apart, heed, settings.modes.trial_spread);
    let tasks: Vec<(_, Task)> = vec![
        ("the key of tokens", Box::pin(rotation.run())),
        ("the broker", Box::pin(broker_task)),
        ("the snapshot of pods", Box::pin(snapshot)),
        ("the snapshot of what roles depend on", Box::pin(roles.written_to(memory))),
        ("the node's metadata", node_metadata_task),
        ("the writer of Events", Box::pin(writer.run())),
        ("the writer of the Node's condition", Box::pin(node_object.run(readiness.clone()))),
        ("the lookups of what roles depend on", Box::pin(lookups.run(own_base))),
        ("the watch on this node's Node", Box::pin(own_node)),
        ("the trials of roles", Box::pin(trial.run())),
        ("the writer of what was asked", Box::pin(keep_asks)),
    ];
    let metrics = Arc::new(metrics);
    let (name, of_aws) = (settings.node_name, (sts, Own::new(own)));
    let on_node = (node.keeper.standing.subscribe(), modal);
    let tried = (asks.clone(), trials);
    let knowing = Knowing::beside(&handler, name, &readiness, &metrics, of_aws, on_node, tried);
    Ok(Bound {
        claim,
        node,
        sockets,
        knowing,
        handler,
        watch,
        assigner,
        modes,
        asks,
        tasks,
        readiness,
        metrics,
    })
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

impl Bound {
    /// Attaches the programs and serves until a signal comes, then finishes open requests. The
    /// programs stay attached: until the next agent comes, pods' connections are refused.
    ///
    /// # Errors
    /// Where the programs cannot be attached, or a part that must live has ended.
    #[expect(clippy::too_many_lines, reason = "a line for each part, and the parts are many")]
    pub async fn run(self, mut signals: Signals) -> Result<(), Error> {
        let Self {
            claim: _claim,
            node,
            sockets: Sockets { proxies, admin, control },
            knowing,
            handler,
            watch,
            assigner,
            modes,
            asks,
            tasks,
            readiness,
            metrics,
        } = self;
        let stop = CancellationToken::new();
        let mut servers = Supervisor::default();
        let mut background = Supervisor::default();
        let listed = readiness.register("the list of this node's pods");
        let (callers, handler) = (handler.callers.clone(), Arc::new(handler));

        let Node {
            mut keeper,
            refuse,
            no_arrival,
            netlink,
            log,
            records,
            rules,
            pods,
            modes: told,
            wanted,
            presence,
            enforced,
            request_lines,
            ..
        } = node;
        let lost = keeper.lost.clone();
        let follow = node::follow_standing(
            keeper.standing.subscribe(),
            readiness.clone(),
            metrics.programs_wanted.clone(),
            metrics.programs_attached.clone(),
        );
        background.spawn("the look at where the programs are", follow);
        let mut way =
            WayWatch::new(&pods, rules, &records, lost, refuse, presence.clone(), &readiness);
        let mut modes = ModesKeeper::new(modes, &pods, told, wanted, presence.clone())?;
        let wanted = keeper.wanted.clone();
        let self_test =
            SelfTest::new(pods, rules, records, enforced, presence, wanted, readiness.clone());
        let changing = readiness.clone();
        background.spawn("the netlink connection", netlink);
        background.spawn("the programs' log", node::hand_on(log));
        for (name, task) in tasks {
            background.spawn(name, task);
        }
        let gather = asks::gather(request_lines, callers.clone(), asks, handler.clock.clone());
        background.spawn("the reader of what pods in audit ask for", gather);
        let cut_off = unreachable::tell(callers.clone(), no_arrival, handler.events.clone());
        background.spawn("the search for pods that are cut off", cut_off);
        background.spawn("the watch on pods", async move {
            let told = watch.run(|change| assigner.on_change(change));
            tokio::join!(told, assigner.follow(), assigner.tell_refusals(), async {
                callers.listed().await;
                listed.done();
                info!("this node's pods are known");
            });
        });
        serve_pods(&mut servers, proxies, &handler, &stop);
        let answer = move |(), head| std::future::ready(admin::answer(&readiness, &metrics, &head));
        servers
            .spawn("the admin endpoint", server::serve(admin, |_| Some(()), answer, stop.clone()));
        servers.spawn("the agent's socket", control.serve(Arc::new(knowing), stop.clone()));
        if modes.begin().await {
            keeper.attach().await?;
        }
        background.spawn("the keeper of modes", modes.run(changing));
        sysctls::prepare(&rules.ports());
        background.spawn("the keeper of the programs", async move {
            let is_ours = |token: &str, address| handler.gave(token, address);
            tokio::join!(keeper.run(), async {
                // First the way: while an earlier agent's programs refuse, no self-test can pass.
                way.look(is_ours).await;
                tokio::join!(self_test.run(), way.run(is_ours));
            });
        });

        tokio::select! {
            ended = servers.first_end() => return Err(ended.into()),
            ended = background.first_end() => return Err(ended.into()),
            signal = signals.wait() => info!(signal, "stopping; pods are refused until an agent runs again"),
        }
        stop.cancel();
        servers.all_ended().await;
        Ok(())
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

/// Answers pods on each of the sockets.
fn serve_pods(
    servers: &mut Supervisor,
    proxies: Vec<TcpListener>,
    handler: &Arc<Handler>,
    stop: &CancellationToken,
) {
    for proxy in proxies {
        let (opened, answering) = (Arc::clone(handler), Arc::clone(handler));
        let open = move |peer| opened.open(peer);
        let answer = move |connection, head| {
            let handler = Arc::clone(&answering);
            async move { handler.serve(&connection, &head).await }
        };
        servers.spawn("the metadata service", server::serve(proxy, open, answer, stop.clone()));
    }
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
