//! The loop: who speaks next, and what follows.

use crate::connection::{Connection, Phase, Turn};
use crate::crowd::Crowd;
use crate::http::Refusal;
use crate::limits::Limits;
use crate::link::{Link, LinkError};
use crate::peers::{Peers, are_one};
use crate::plan::{Listener, Plan};
use crate::signer::RemoteKey;
use crate::socket::Socket;
use crate::tls;
use crate::wait::{Ready, Waited, wait};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_send_buffer_size, set_tcp_nodelay,
};
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that are taken before others have their turn.
const AT_ONCE: usize = 64;
/// Bytes of a TCP connection that the kernel keeps, in each direction; it takes twice as many
/// (socket(7)).
const BUFFER: usize = 128 * 1024;
/// Without descriptors or memory for another connection: how long none is taken.
const PAUSE: Duration = Duration::from_millis(100);
/// For what is asked to be answered, once the front is to end.
const LAST: Duration = Duration::from_secs(5);

/// Why a front ends.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// Nobody answers.
    #[error("{0}")]
    Keeper(String),
    /// The plan's certificates and key are of no use.
    #[error("TLS cannot be spoken: {0}")]
    Tls(#[from] rustls::Error),
    /// The kernel refuses what a front needs.
    #[error("{call}: {source}")]
    System {
        /// Which call.
        call: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl From<LinkError> for FrontError {
    fn from(error: LinkError) -> Self {
        Self::Keeper(error.to_string())
    }
}

/// The descriptors of a front, see [`crate::Descriptors`].
#[derive(Debug)]
pub struct Sockets {
    /// To the supervisor.
    pub control: Arc<OwnedFd>,
    /// To the keeper, for calls.
    pub keeper: OwnedFd,
    /// To the keeper, for signatures.
    pub signer: OwnedFd,
    /// What it listens on, in the plan's order.
    pub listeners: Vec<OwnedFd>,
}

/// A front with all that it needs.
#[derive(Debug)]
pub struct Front {
    limits: Limits,
    control: Arc<OwnedFd>,
    listeners: Vec<(OwnedFd, Listener)>,
    link: Link,
    key: RemoteKey,
    tls: Arc<ServerConfig>,
    peers: Peers,
    crowd: Crowd,
    /// Who waits for a turn at the keeper.
    queue: VecDeque<u64>,
    /// No connection is taken until then.
    paused: Option<Instant>,
    /// It is to end, then at the latest.
    ends: Option<Instant>,
}

impl Front {
    /// A front that is ready to serve.
    ///
    /// # Errors
    /// [`FrontError`].
    pub fn new(plan: &Plan, sockets: Sockets) -> Result<Self, FrontError> {
        let Sockets { control, keeper, signer, listeners } = sockets;
        let key = RemoteKey::new(plan.scheme, Socket(signer));
        let listeners: Vec<_> = listeners.into_iter().zip(plan.listeners.iter().copied()).collect();
        for (listener, kind) in &listeners {
            if *kind == Listener::Tcp {
                tune(listener)?;
            }
        }
        Ok(Self {
            limits: plan.limits,
            control,
            listeners,
            link: Link::new(Socket(keeper)),
            tls: tls::config(plan, key.clone())?,
            key,
            peers: Peers::new(&plan.limits),
            crowd: Crowd::default(),
            queue: VecDeque::new(),
            paused: None,
            ends: None,
        })
    }

    /// Has no more connections than there are descriptors for.
    pub(crate) fn at_most(&mut self, connections: u64) {
        let most = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        self.limits.connections = self.limits.connections.min(most);
    }

    /// Whether nobody is left, and the keeper has answered all that was asked, those who have gone
    /// included: a socket that is closed over an unread answer tells it of a break.
    fn is_done(&self) -> bool {
        self.crowd.len() == 0 && self.link.calls() == 0
    }

    /// Serves until the supervisor says a word or is gone; then answers what is asked.
    ///
    /// # Errors
    /// [`FrontError`]: nobody can be served any more.
    pub fn serve(&mut self) -> Result<(), FrontError> {
        loop {
            if let Some(at) = self.ends
                && (self.is_done() || at <= Instant::now())
            {
                return Ok(());
            }
            self.turn()?;
        }
    }

    /// Waits for whoever speaks next, and does what follows.
    fn turn(&mut self) -> Result<(), FrontError> {
        let ready = self.wait()?;
        let now = Instant::now();
        if ready.control {
            self.begin_to_end(now);
        }
        if ready.keeper {
            self.link.flush()?;
            self.take_answers(now)?;
        }
        for (number, flags) in ready.connections {
            if let Some(connection) = self.crowd.get(number) {
                let turn = connection.go_on(flags, &self.limits, now);
                self.follow(number, turn, now);
            }
        }
        for listener in ready.listeners {
            self.accept(listener, now)?;
        }
        for number in self.crowd.expired(now) {
            self.forget(number);
            if let Some(connection) = self.crowd.get(number) {
                let turn = connection.expire(&self.limits, now);
                self.follow(number, turn, now);
            }
        }
        while let Some(number) = self.crowd.too_large() {
            self.drop(number);
        }
        self.ask(now)?;
        if self.key.is_broken() {
            return Err(FrontError::Keeper("the keeper does not sign".into()));
        }
        Ok(())
    }

    fn wait(&self) -> Result<Ready, FrontError> {
        let now = Instant::now();
        let paused = self.paused.filter(|until| *until > now);
        let accepts = self.ends.is_none() && paused.is_none();
        let untils = self.crowd.iter().map(|(_, connection)| connection.until());
        let until = untils.chain(paused).chain(self.ends).min();
        let waited = Waited {
            keeper: self.link.socket(),
            is_behind: self.link.is_behind(),
            control: self.ends.is_none().then_some(&self.control),
            listeners: if accepts { &self.listeners } else { &[] },
            crowd: &self.crowd,
        };
        wait(&waited, until.map(|until| until.saturating_duration_since(now)))
            .map_err(system("poll"))
    }

    /// Nothing new is taken; who has nothing to ask is let go.
    fn begin_to_end(&mut self, now: Instant) {
        self.ends = Some(now + LAST);
        let idle = |phase| matches!(phase, Phase::Idle | Phase::Handshake);
        let those = self.crowd.iter().filter(|(_, connection)| idle(connection.phase()));
        let those: Vec<u64> = those.map(|(number, _)| number).collect();
        those.into_iter().for_each(|number| self.drop(number));
    }

    fn take_answers(&mut self, now: Instant) -> Result<(), FrontError> {
        let Self { link, crowd, limits, ends, .. } = self;
        let mut turns = Vec::new();
        link.read(|number, answer| {
            if let Some(connection) = crowd.get(number) {
                let turn = connection.answered(answer, ends.is_some(), limits, now);
                turns.push((number, turn));
            }
        })?;
        turns.into_iter().for_each(|(number, turn)| self.follow(number, turn, now));
        Ok(())
    }

    /// Takes those who connect, as many as may come before others have their turn.
    fn accept(&mut self, listener: usize, now: Instant) -> Result<(), FrontError> {
        for _ in 0..AT_ONCE {
            let Some((socket, kind)) = self.listeners.get(listener) else { break };
            let kind = *kind;
            match acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, address)) => {
                    let peer = address.filter(|_| kind == Listener::Tcp).and_then(address_of);
                    self.arrive(Socket(socket), peer, now);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.paused = Some(now + PAUSE);
                    let oldest = self.crowd.to_go(|_| true);
                    oldest.into_iter().for_each(|number| self.drop(number));
                    break;
                }
                Err(e @ (Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP)) => {
                    return Err(system("accept4")(e));
                }
                // Of the connection, which is gone again (accept(2), "Error handling").
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Somebody has connected. Who may not is not told: it would cost what is being saved.
    fn arrive(&mut self, socket: Socket, peer: Option<IpAddr>, now: Instant) {
        if self.peers.ask(peer, now).is_err() {
            return;
        }
        if !self.peers.enter(peer, now) {
            let oldest = self.crowd.to_go(|connection| are_one(connection.peer, peer));
            oldest.into_iter().for_each(|number| self.drop(number));
            if !self.peers.enter(peer, now) {
                return;
            }
        }
        let most = usize::try_from(self.limits.connections).unwrap_or(usize::MAX);
        if self.crowd.len() >= most {
            let oldest = self.crowd.to_go(|_| true);
            oldest.into_iter().for_each(|number| self.drop(number));
        }
        let room = self.crowd.len() < most;
        let made = || Connection::new(socket, peer, &self.tls, &self.limits, now);
        match room.then(made).flatten() {
            Some(connection) => drop(self.crowd.add(connection)),
            None => self.peers.leave(peer),
        }
    }

    /// What becomes of a connection.
    fn follow(&mut self, number: u64, turn: Turn, now: Instant) {
        match turn {
            Turn::Stays => {}
            Turn::Gone => self.drop(number),
            Turn::Asks => {
                let Some(connection) = self.crowd.get(number) else { return };
                match self.peers.ask(connection.peer, now) {
                    Ok(()) => self.queue.push_back(number),
                    Err(seconds) => {
                        let refusal = Refusal::too_often(seconds);
                        if connection.refuse(&refusal, &self.limits, now) == Turn::Gone {
                            self.drop(number);
                        }
                    }
                }
            }
        }
    }

    /// Gives the keeper requests, as many as it takes at once, in the order in which they came.
    fn ask(&mut self, now: Instant) -> Result<(), FrontError> {
        let most = usize::try_from(self.limits.calls).unwrap_or(usize::MAX);
        while self.link.calls() < most
            && let Some(number) = self.queue.pop_front()
        {
            let Some(connection) = self.crowd.get(number) else { continue };
            let Some(call) = connection.request() else { continue };
            match self.link.ask(number, call) {
                Ok(id) => connection.was_asked(id),
                // What HTTP lets pass, the relay does: this is for the day when it does not.
                Err(LinkError::Nonsense(_)) => {
                    let refusal = Refusal::new(400, "a request that is not of the protocol");
                    let turn = connection.refuse(&refusal, &self.limits, now);
                    self.follow(number, turn, now);
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Nobody waits for what a connection has asked.
    fn forget(&mut self, number: u64) {
        match self.crowd.get(number).map(|connection| connection.phase()) {
            Some(Phase::Asked(id)) => self.link.forget(id),
            Some(Phase::Queued) => self.queue.retain(|queued| *queued != number),
            _ => {}
        }
    }

    fn drop(&mut self, number: u64) {
        self.forget(number);
        if let Some(mut connection) = self.crowd.remove(number) {
            connection.let_go();
            self.peers.leave(connection.peer);
        }
    }
}

/// What connections have from what they come over (tcp(7)): small buffers, since the kernel's own
/// grow to megabytes for whoever does not read, and no waiting with what is small: an answer is
/// written at once.
fn tune(listener: &OwnedFd) -> Result<(), FrontError> {
    set_tcp_nodelay(listener, true).map_err(system("setsockopt(TCP_NODELAY)"))?;
    set_socket_send_buffer_size(listener, BUFFER).map_err(system("setsockopt(SO_SNDBUF)"))?;
    set_socket_recv_buffer_size(listener, BUFFER).map_err(system("setsockopt(SO_RCVBUF)"))
}

fn address_of(address: SocketAddrAny) -> Option<IpAddr> {
    // One that listens for both kinds tells IPv4 addresses in the clothes of the other.
    SocketAddr::try_from(address).ok().map(|address| address.ip().to_canonical())
}

fn system(call: &'static str) -> impl FnOnce(Errno) -> FrontError {
    move |errno| FrontError::System { call, source: errno.into() }
}
