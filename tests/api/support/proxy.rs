//! A proxy in front of a server. Tests can make it cut, stall and refuse connections, restore them, and lead new ones
//! to another server.
use super::{TestApp, database_server, not_for_this_run};
use bizcenter::config::{Config, DatabaseUrl};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Accepts connections, but passes no data.
    Stalled,
    /// Accepts no connections.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct State {
    line: Line,
    /// Connections from an earlier age are closed.
    age: u32,
    server: SocketAddr,
}

/// The point at which a connection breaks as planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The server does not receive the client's message.
    Request,
    /// The server receives the message and acts on it, but the client does not receive the answer.
    Answer,
}

/// How many messages of clients still pass before the break, and the kind of break.
type Plan = Arc<Mutex<Option<(usize, Break)>>>;

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    plan: Plan,
    turns: Arc<AtomicUsize>,
}

/// A server with a proxy to its database that a test can interrupt. `None` with SQLite, whose database is a file.
pub async fn on_a_line(change: impl FnOnce(&mut Config) + Send + 'static) -> Option<(TestApp, Proxy)> {
    let Some(server) = database_server() else {
        not_for_this_run("SQLite has no line that could break");
        return None;
    };
    let place = server.rsplit('@').next().unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::to(place.parse().unwrap()).await;
    let detour = proxy.address.to_string();
    let app = TestApp::with(move |config| {
        let url = format!("{}?sslmode=disable", config.database.url.expose().replace(&place, &detour));
        assert!(url.contains(&detour), "the line does not go through the proxy");
        config.database.url = DatabaseUrl::parse(&url, Path::new("/")).unwrap();
        config.database.pool_size = 4;
        change(config);
    });
    Some((app.await, proxy))
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, server).await
    }

    /// Like [`Self::to`], but listens on this address.
    pub async fn at(address: Ipv4Addr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State { line: Line::Open, age: 0, server }));
        let plan = Plan::default();
        let turns = Arc::<AtomicUsize>::default();
        tokio::spawn(accept(listener, state.clone(), plan.clone(), turns.clone()));
        Self { address, state, plan, turns }
    }

    /// Closes all connections. New ones are still accepted.
    pub fn cut(&self) {
        cut(&self.state);
    }

    /// Closes all connections and accepts no new ones.
    pub fn refuse(&self) {
        self.set(Line::Refused);
        self.cut();
    }

    pub fn stall(&self) {
        self.set(Line::Stalled);
    }

    /// Leads new connections to this server. Existing connections stay as they are.
    pub fn lead_to(&self, server: SocketAddr) {
        self.state.send_modify(|state| state.server = server);
    }

    pub fn restore(&self) {
        self.set(Line::Open);
    }

    fn set(&self, line: Line) {
        self.state.send_modify(|state| state.line = line);
    }

    /// Breaks the connection at the n-th message that clients send from now on, counted from 0.
    pub fn break_at(&self, n: usize, place: Break) {
        *self.plan.lock().unwrap() = Some((n, place));
    }

    /// How many times clients have sent something since the server last did, on all connections together.
    pub fn turns(&self) -> usize {
        self.turns.load(Ordering::SeqCst)
    }

    /// Whether the planned break has happened. If not, the plan is dropped.
    pub fn has_broken(&self) -> bool {
        self.plan.lock().unwrap().take().is_none()
    }
}

fn cut(state: &watch::Sender<State>) {
    state.send_modify(|state| state.age += 1);
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>, plan: Plan, turns: Arc<AtomicUsize>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut changes = state.subscribe();
    loop {
        if changes.borrow_and_update().line == Line::Refused {
            listener = None;
            changes.wait_for(|state| state.line != Line::Refused).await.unwrap();
        }
        if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        tokio::select! {
            accepted = listener.as_ref().unwrap().accept() => {
                let (client, _) = accepted.unwrap();
                tokio::spawn(pass(client, state.clone(), plan.clone(), turns.clone()));
            }
            _ = changes.changed() => {}
        }
    }
}

/// Passes data between a client and the server until one of them leaves or the connection is cut.
async fn pass(client: TcpStream, state: Arc<watch::Sender<State>>, plan: Plan, turns: Arc<AtomicUsize>) {
    let mut changes = state.subscribe();
    let State { age, server, .. } = *changes.borrow();
    let Ok(server) = TcpStream::connect(server).await else { return };
    // As clients and servers of databases do. Otherwise the kernel keeps the second of two small messages for 40 ms.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answer_is_lost = &watch::Sender::new(false);
    let is_servers_turn = &Mutex::new(false);
    let requests = copy(from_client, to_server, state.subscribe(), || {
        if !std::mem::replace(&mut *is_servers_turn.lock().unwrap(), true) {
            turns.fetch_add(1, Ordering::SeqCst);
        }
        let mut plan = plan.lock().unwrap();
        match *plan {
            Some((0, Break::Request)) => {
                *plan = None;
                return false;
            }
            Some((0, Break::Answer)) => {
                *plan = None;
                answer_is_lost.send_replace(true);
            }
            Some((n, place)) => *plan = Some((n - 1, place)),
            None => {}
        }
        true
    });
    let answers = copy(from_server, to_client, state.subscribe(), || {
        *is_servers_turn.lock().unwrap() = false;
        !*answer_is_lost.borrow()
    });
    tokio::select! {
        broken = requests => if broken { cut(&state) },
        broken = answers => if broken { cut(&state) },
        _ = changes.wait_for(|state| state.age != age) => {}
    }
}

/// After so long without a word, a server has said everything that it had to say.
const SILENCE: Duration = Duration::from_millis(100);

/// Copies data until one side has closed the connection. Returns true if `may_pass` has stopped it.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut changes: watch::Receiver<State>,
    mut may_pass: impl FnMut() -> bool,
) -> bool {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return false };
        changes.wait_for(|state| state.line == Line::Open).await.unwrap();
        if !may_pass() {
            // The answer may come in several parts. A server that finds the line cut after the first of them gives up
            // what it is still doing, so the line is cut when the server has said everything.
            while let Ok(Ok(1..)) = timeout(SILENCE, from.read(&mut buffer)).await {}
            return true;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
    }
}
