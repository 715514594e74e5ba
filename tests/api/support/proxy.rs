//! A line to a database server that tests can pull, hold, give back, and lead elsewhere.
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Takes connections, and passes nothing.
    Stalled,
    /// Takes none.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct State {
    line: Line,
    /// Connections of an earlier age are cut.
    age: u32,
    server: SocketAddr,
}

/// Where the line is to break by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The server does not get what the client says.
    Request,
    /// The server gets and does it, but the client does not hear.
    Answer,
}

/// Counts down what clients say, until the line breaks.
type Plan = Arc<Mutex<Option<(usize, Break)>>>;

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    plan: Plan,
}

impl Proxy {
    pub async fn to(server: SocketAddr) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, server).await
    }

    /// A line that starts at this address.
    pub async fn at(address: Ipv4Addr, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State { line: Line::Open, age: 0, server }));
        let plan = Plan::default();
        tokio::spawn(accept(listener, state.clone(), plan.clone()));
        Self { address, state, plan }
    }

    /// Ends all connections; new ones are welcome.
    pub fn cut(&self) {
        cut(&self.state);
    }

    /// Ends all connections, and takes no others.
    pub fn refuse(&self) {
        self.set(Line::Refused);
        self.cut();
    }

    pub fn stall(&self) {
        self.set(Line::Stalled);
    }

    /// New connections lead to this server; those that there are stay.
    pub fn lead_to(&self, server: SocketAddr) {
        self.state.send_modify(|state| state.server = server);
    }

    pub fn restore(&self) {
        self.set(Line::Open);
    }

    fn set(&self, line: Line) {
        self.state.send_modify(|state| state.line = line);
    }

    /// Breaks the line at the n-th thing that clients say from now on, counted from 0.
    pub fn break_at(&self, n: usize, place: Break) {
        *self.plan.lock().unwrap() = Some((n, place));
    }

    /// Whether the line broke as planned. If not, it will not do so any more.
    pub fn has_broken(&self) -> bool {
        self.plan.lock().unwrap().take().is_none()
    }
}

fn cut(state: &watch::Sender<State>) {
    state.send_modify(|state| state.age += 1);
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>, plan: Plan) {
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
                tokio::spawn(pass(client, state.clone(), plan.clone()));
            }
            _ = changes.changed() => {}
        }
    }
}

/// Passes on what the two say to each other, for as long as the line is up.
async fn pass(client: TcpStream, state: Arc<watch::Sender<State>>, plan: Plan) {
    let mut changes = state.subscribe();
    let State { age, server, .. } = *changes.borrow();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answer_is_lost = &watch::Sender::new(false);
    let requests = copy(from_client, to_server, state.subscribe(), || {
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
    let answers = copy(from_server, to_client, state.subscribe(), || !*answer_is_lost.borrow());
    tokio::select! {
        broken = requests => if broken { cut(&state) },
        broken = answers => if broken { cut(&state) },
        _ = changes.wait_for(|state| state.age != age) => {}
    }
}

/// Until one side has gone; true if `may_pass` has stopped it.
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
            return true;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
    }
}
