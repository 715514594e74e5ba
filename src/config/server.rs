//! `[server]`: where it listens and what it puts up with.
use super::reader::{Read, Reader};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address to listen on: 127.0.0.1 in development, 0.0.0.0 otherwise, unless set.
    pub host: IpAddr,
    /// The TCP port to listen on; 0 takes any free one.
    pub port: u16,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The largest JSON body, in bytes.
    pub max_body_bytes: usize,
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long requests under way are given at shutdown.
    pub drain_timeout: Duration,
    /// How many connections may be open at once.
    pub max_connections: usize,
    /// How many of these may be from one address: a quarter, unless set. Trusted proxies may have more.
    pub max_connections_per_address: usize,
    /// How many bytes of rendered answers may wait for their clients at once.
    pub max_unsent_bytes: u64,
    /// How many exports may be under way at once.
    pub max_exports: u64,
    /// Whether the documentation pages are served.
    pub docs_enabled: bool,
    /// Whether paths of earlier systems are served in place.
    pub old_paths_enabled: bool,
}

impl ServerConfig {
    /// The address and port to listen on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let host = host(reader);
        let port = reader.number("server.port", 0..=65_535);
        let trusted_proxies = trusted_proxies(reader);
        let max_body_bytes = reader.number("server.max_body_bytes", 1024..=104_857_600);
        let header_timeout = reader.seconds("server.header_timeout_seconds", 1..=300);
        let request_timeout = reader.seconds("server.request_timeout_seconds", 1..=3600);
        let write_timeout = reader.seconds("server.write_timeout_seconds", 1..=300);
        let drain_timeout = reader.seconds("server.drain_timeout_seconds", 0..=3600);
        let max_connections = reader.number("server.max_connections", 1..=1_000_000);
        let max_connections_per_address = reader.optional_number("server.max_connections_per_address", 1..=1_000_000);
        let max_unsent_bytes = reader.number("server.max_unsent_bytes", 1_048_576..=1_099_511_627_776);
        let max_exports = reader.number("server.max_exports", 1..=10_000);
        let docs_enabled = reader.flag("server.docs_enabled");
        let old_paths_enabled = reader.flag("server.old_paths_enabled");
        let max_connections = max_connections?;
        Ok(Self {
            host: host?,
            port: port?,
            trusted_proxies: trusted_proxies?,
            max_body_bytes: max_body_bytes?,
            header_timeout: header_timeout?,
            request_timeout: request_timeout?,
            write_timeout: write_timeout?,
            drain_timeout: drain_timeout?,
            max_connections,
            max_connections_per_address: max_connections_per_address?.unwrap_or((max_connections / 4).max(1)),
            max_unsent_bytes: max_unsent_bytes?,
            max_exports: max_exports?,
            docs_enabled: docs_enabled?,
            old_paths_enabled: old_paths_enabled?,
        })
    }

    pub(super) fn for_tests() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            trusted_proxies: vec![],
            max_body_bytes: 1_048_576,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            max_connections: 10_000,
            max_connections_per_address: 10_000, // all tests come from one
            max_unsent_bytes: 268_435_456,
            max_exports: 32,
            docs_enabled: true,
            old_paths_enabled: true,
        }
    }
}

fn host(reader: &mut Reader) -> Read<IpAddr> {
    match reader.text("server.host")?.trim() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => text.parse().map_err(|_| reader.report("server.host", "must be an IP address or localhost")),
    }
}

fn trusted_proxies(reader: &mut Reader) -> Read<Vec<IpNet>> {
    let path = "server.trusted_proxies";
    let list = reader.list(path)?;
    let one = |text: &String| range(text).ok_or_else(|| format!("{text:?} is no IP address or CIDR range"));
    list.iter().map(one).collect::<Result<_, _>>().map_err(|message| reader.report(path, message))
}

/// A CIDR range; a plain address is the range that holds it alone.
fn range(text: &str) -> Option<IpNet> {
    let range: Option<IpNet> = text.parse().ok();
    range.or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}
