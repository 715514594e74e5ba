//! `[metrics]`: where the server's counters can be read.
use super::declare::{setting, settings};
use super::reader::{Read, Reader};
use super::types::{Optional, ValueType};
use std::net::SocketAddr;

settings! {
    /// `[metrics]`: where the server's counters can be read.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MetricsConfig {
        /// Where GET /metrics answers, for Prometheus: a listener of its own, as nobody signs in to it; keep it off the
        /// internet. Without an address there is none.
        pub address: Option<SocketAddr> = setting("metrics.address", Optional(AddressAndPort))
            .named(&["METRICS_ADDR"])
            .example("127.0.0.1:9100"),
    }
}

/// An IP address and a port.
struct AddressAndPort;

impl ValueType<SocketAddr> for AddressAndPort {
    fn read(&self, reader: &mut Reader, path: &'static str) -> Read<SocketAddr> {
        let address = reader.text(path)?;
        let message = "must be an IP address and a port, as in 127.0.0.1:9100";
        address.trim().parse().map_err(|_| reader.report(path, message))
    }
}
