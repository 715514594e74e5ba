//! `[server]`: where it listens and what it puts up with.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Flag, Number, Optional, ValueType, read_list, seconds};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

settings! {
    /// `[server]`: where it listens and what it puts up with.
    #[derive(Debug, Clone)]
    pub struct ServerConfig {
        /// The address to listen on: an IP address, or localhost. {default}.
        pub host: IpAddr = setting("server.host", Host)
            .named(&["HOST"])
            .default_in_development("127.0.0.1")
            .default_elsewhere("0.0.0.0"),

        /// The TCP port to listen on ({range}); 0 takes any free one.
        pub port: u16 = setting("server.port", Number(0..=65_535)).named(&["PORT"]).default(8000).in_tests(0),

        /// Proxies whose X-Forwarded-For is believed: IP addresses and CIDR ranges. Also: {names} (comma list).
        pub trusted_proxies: Vec<IpNet> = setting("server.trusted_proxies", Networks)
            .named(&["TRUSTED_PROXIES"])
            .default([]),

        /// The largest JSON body, in bytes ({range}).
        pub max_body_bytes: usize = setting("server.max_body_bytes", Number(1024..=104_857_600))
            .named(&["MAX_BODY_BYTES"])
            .default(1_048_576),

        /// Within how many seconds a request's head must have arrived ({range}).
        pub header_timeout: Duration = setting("server.header_timeout_seconds", seconds(1..=300)).default(10),

        /// How many seconds a request may take in all ({range}).
        pub request_timeout: Duration = setting("server.request_timeout_seconds", seconds(1..=3600)).default(30),

        /// For how many seconds a client may take nothing of its answer, before that is cut off ({range}).
        pub write_timeout: Duration = setting("server.write_timeout_seconds", seconds(1..=300)).default(30),

        /// How many seconds requests and jobs under way are given at shutdown ({range}).
        pub drain_timeout: Duration = setting("server.drain_timeout_seconds", seconds(0..=3600)).default(30).in_tests(5),

        /// How many connections may be open at once ({range}).
        pub max_connections: usize = setting("server.max_connections", Number(1..=1_000_000)).default(10_000),

        // All connections of the tests come from one address.
        /// How many of these may be from one address ({range}): a quarter of them, unless set. trusted_proxies may have
        /// more. When an address has all that it may have, or all are in use, the connection that has been without a request
        /// for longest is closed.
        pub max_connections_per_address: usize =
            setting("server.max_connections_per_address", OrQuarterOfConnections(1..=1_000_000))
                .example(2500)
                .in_tests(10_000),

        /// How many bytes of answers may wait for clients that don't read them ({range}): beyond, reads are answered with
        /// 503. One user may have 33554432 (429).
        pub max_unsent_bytes: u64 = setting("server.max_unsent_bytes", Number(1_048_576..=1_099_511_627_776))
            .default(268_435_456),

        /// How many exports may be under way at once ({range}): beyond, they are answered with 503. One user may have 2 and
        /// one tenant 4 (429).
        pub max_exports: u64 = setting("server.max_exports", Number(1..=10_000)).default(32),

        /// Whether the pages /docs, /redoc and /scalar are served.
        pub docs_enabled: bool = setting("server.docs_enabled", Flag).default(true),

        /// Whether paths of earlier systems are served in place.
        pub old_paths_enabled: bool = setting("server.old_paths_enabled", Flag).default(true),
    }
}

impl ServerConfig {
    /// The address and port to listen on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// An IP address, or localhost.
struct Host;

impl ValueType<IpAddr> for Host {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<IpAddr> {
        match reader.text(path)?.trim() {
            "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            text => text.parse().map_err(|_| reader.report(path, "must be an IP address or localhost")),
        }
    }
}

/// IP addresses and CIDR ranges.
struct Networks;

impl ValueType<Vec<IpNet>> for Networks {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<Vec<IpNet>> {
        let list = read_list(reader, path)?;
        let one = |text: &String| network(text).ok_or_else(|| format!("{text:?} is no IP address or CIDR range"));
        list.iter().map(one).collect::<Result<_, _>>().map_err(|message| reader.report(path, message))
    }
}

/// Parses a CIDR range. A plain address is the range that contains it alone.
fn network(text: &str) -> Option<IpNet> {
    let range: Option<IpNet> = text.parse().ok();
    range.or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
}

/// A number with a quarter of `max_connections` as its default.
struct OrQuarterOfConnections(RangeInclusive<u64>);

impl ValueType<usize> for OrQuarterOfConnections {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<usize> {
        let number: Option<usize> = Optional(Number(self.0.clone())).read(reader, path)?;
        let quarter = reader.peek::<usize>("server.max_connections").unwrap_or_default() / 4;
        Ok(number.unwrap_or(quarter.max(1)))
    }

    fn range(&self) -> Option<RangeInclusive<u64>> {
        Some(self.0.clone())
    }
}
