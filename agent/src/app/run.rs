//! The life of an agent: it learns who is who, takes over from another agent if there is one, serves,
//! attaches the programs, tests itself, and ends when it is told to.

use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::assign::Assigner;
use super::modes::{ModesKeeper, Parts};
use super::node::Node;
use super::seat::Seated;
use super::tested::{SelfTest, WayWatch};
use super::upgrade::{self, Office, SESSIONS};
use super::{Bound, Error, asks, node, standing, unreachable};
use crate::callers::watch::Watch;
use crate::kernel::{bpffs, sysctls};
use crate::metadata::Handler;
use crate::metadata::asks::Asks;
use crate::metadata::server::{self, Hours};
use crate::operate::admin;
use crate::operate::control::hand_over::Predecessor;
use crate::operate::readiness::{Latch, Readiness};
use crate::operate::shutdown::Signals;
use crate::operate::supervisor::Supervisor;
use crate::operate::watchdog;

/// What `/readyz` waits for at the start.
struct Latches {
    listed: Latch,
    decided: Latch,
    sessions: Latch,
}

impl Latches {
    fn of(readiness: &Readiness) -> Self {
        Self {
            listed: readiness.register("the list of this node's pods"),
            decided: readiness.register("the roles of this node's pods"),
            sessions: readiness.register(SESSIONS),
        }
    }
}

/// Knows whether the agent before this one lives, at rest.
type Beside = channel::Receiver<bool>;

impl Bound {
    /// Attaches the programs and serves until a signal comes, then finishes open requests. Where another
    /// agent is on duty, it takes over from that one first. The programs stay attached: until the next
    /// agent comes, pods' connections are refused.
    ///
    /// # Errors
    /// Where the programs cannot be attached, or a part that must live has ended.
    pub async fn run(self, mut signals: Signals) -> Result<(), Error> {
        let heart = watchdog::start().map_err(Error::Thread)?;
        tokio::select! {
            ended = Box::pin(self.live(&mut signals)) => ended,
            never = heart.beat() => match never {},
        }
    }

    async fn live(self, signals: &mut Signals) -> Result<(), Error> {
        let Self {
            seated,
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
        let Seated { claim: _claim, mut node, sockets, duty, predecessor, office } = seated;
        let (handler, knowing) = (Arc::new(handler), Arc::new(knowing));
        let hours = Hours { duty: duty.clone(), stop: CancellationToken::new() };
        let Latches { listed, decided, sessions } = Latches::of(&readiness);
        let self_test = SelfTest::of(&node, &readiness);
        let places = node.keeper.standing.subscribe();
        let places = standing::follow(places, readiness.clone(), &metrics);
        let mut stopping = pin!(signals.wait());
        let (mut servers, mut background) = (Supervisor::default(), Supervisor::default());
        for (name, task) in tasks {
            background.spawn(name, task);
        }
        background.spawn("the look at where the programs are", places);
        background.spawn("the netlink connection", node.take_netlink());
        if let Some(own) = sockets.own {
            let own = own.serve(Arc::clone(&knowing), hours.stop.clone());
            background.spawn("the socket of this agent", own);
        }
        let mut known =
            know(&mut background, watch, assigner, &handler, [listed, decided, sessions]);

        let beside = match predecessor {
            None => channel::channel(false).1,
            Some(mut predecessor) => {
                tokio::select! {
                    Ok(_) = known.wait_for(|known| *known) => {}
                    () = predecessor.gone() => warn!("the agent on duty is gone; this one is next"),
                    ended = background.first_end() => return Err(ended.into()),
                    signal = &mut stopping => {
                        info!(signal, "stopping; another agent is on duty");
                        return Ok(());
                    }
                }
                office.take_over(&mut predecessor).await?;
                stay_beside(&mut background, predecessor, &node, &readiness, &hours.stop)
            }
        };

        serve_pods(&mut servers, sockets.proxies, &handler, &hours);
        let admin = sockets.admin;
        let answer = {
            let readiness = readiness.clone();
            move |(), head| std::future::ready(admin::answer(&readiness, &metrics, &head))
        };
        servers
            .spawn("the admin endpoint", server::serve(admin, |_| Some(()), answer, hours.clone()));
        servers.spawn("the agent's socket", sockets.control.serve(knowing, hours.stop.clone()));
        let others = node.other_versions();
        keep(&mut background, node, &handler, &readiness, self_test, (modes, asks)).await?;
        if !*beside.borrow() {
            bpffs::remove_versions(&others);
        }

        tokio::select! {
            ended = servers.first_end() => return Err(ended.into()),
            ended = background.first_end() => return Err(ended.into()),
            signal = &mut stopping => say_end(signal, &hours, *beside.borrow()),
        }
        lay_down(&office, *beside.borrow());
        hours.stop.cancel();
        servers.all_ended().await;
        Ok(())
    }
}

fn say_end(signal: &str, hours: &Hours, beside: bool) {
    if !hours.duty.is_on() {
        info!(signal, "stopping; another agent is on duty");
    } else if beside {
        info!(signal, "stopping; the agent before this one goes on");
    } else {
        info!(signal, "stopping; pods are refused until an agent runs again");
    }
}

/// Where the agent before this one lives, it goes on at once, and not only after the drain.
fn lay_down(office: &Office, beside: bool) {
    if beside {
        office.rest();
    }
    office.close();
}

/// Learns who is who and what they may have; true once that is known of all.
fn know(
    background: &mut Supervisor,
    watch: Watch,
    assigner: Assigner,
    handler: &Handler,
    [listed, decided, sessions]: [Latch; 3],
) -> channel::Receiver<bool> {
    let (callers, broker) = (handler.callers.clone(), handler.broker.clone());
    let (sender, known) = channel::channel(false);
    background.spawn("the watch on pods", async move {
        let told = watch.run(|change| assigner.on_change(change));
        tokio::join!(told, assigner.follow(), assigner.tell_refusals(), async {
            callers.listed().await;
            listed.done();
            info!("this node's pods are known");
            assigner.settled().await;
            decided.done();
            sender.send_replace(true);
            broker.settled().await;
            sessions.done();
            info!("each pod that is to have a session has it, or is refused it");
        });
    });
    known
}

fn stay_beside(
    background: &mut Supervisor,
    predecessor: Predecessor,
    node: &Node,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Beside {
    let (sender, beside) = channel::channel(true);
    let others = node.other_versions();
    let readiness = readiness.clone();
    let stay = upgrade::stay_beside(predecessor, readiness, sender, others, stop.clone());
    background.spawn("the take-over from another agent", stay);
    beside
}

/// Answers pods on each of the sockets.
fn serve_pods(
    servers: &mut Supervisor,
    proxies: Vec<TcpListener>,
    handler: &Arc<Handler>,
    hours: &Hours,
) {
    for proxy in proxies {
        let (opened, answering) = (Arc::clone(handler), Arc::clone(handler));
        let open = move |peer| opened.open(peer);
        let answer = move |connection, head| {
            let handler = Arc::clone(&answering);
            async move { handler.serve(&connection, &head).await }
        };
        servers.spawn("the metadata service", server::serve(proxy, open, answer, hours.clone()));
    }
}

/// Attaches the programs where they shall be on the node, and from then on keeps and tests them.
async fn keep(
    background: &mut Supervisor,
    node: Node,
    handler: &Arc<Handler>,
    readiness: &Readiness,
    self_test: SelfTest,
    (modes, asks): (Parts, Asks),
) -> Result<(), Error> {
    let mut way = WayWatch::of(&node, readiness);
    let Node {
        mut keeper,
        no_arrival,
        log,
        rules,
        pods,
        modes: told,
        wanted,
        presence,
        request_lines,
        ..
    } = node;
    let duty = keeper.duty.clone();
    let mut modes = ModesKeeper::new(modes, &pods, told, wanted, presence)?;
    background.spawn("the programs' log", node::hand_on(log));
    let gather = asks::gather(request_lines, handler.callers.clone(), asks, handler.clock.clone());
    background.spawn("the reader of what pods in audit ask for", gather);
    let cut_off = unreachable::tell(handler.callers.clone(), no_arrival, handler.events.clone());
    background.spawn("the search for pods that are cut off", cut_off);
    if modes.begin().await {
        keeper.take_over().await?;
    }
    background.spawn("the keeper of modes", modes.run(readiness.clone(), duty));
    sysctls::prepare(&rules.ports());
    let handler = Arc::clone(handler);
    background.spawn("the keeper of the programs", async move {
        let is_ours = |token: &str, address| handler.gave(token, address);
        tokio::join!(keeper.run(), async {
            // First the way: while an earlier agent's programs refuse, no self-test can pass.
            way.look(&is_ours).await;
            tokio::join!(self_test.run(&is_ours), way.run(&is_ours));
        });
    });
    Ok(())
}
