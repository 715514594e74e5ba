//! `[metrics]`: where the server's counters can be read.
use super::reader::{Read, Reader};
use std::net::SocketAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The address of `GET /metrics`; without it, there is none.
    pub address: Option<SocketAddr>,
}

impl MetricsConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        Ok(Self { address: address(reader)? })
    }

    pub(super) fn for_tests() -> Self {
        Self { address: None }
    }
}

fn address(reader: &mut Reader) -> Read<Option<SocketAddr>> {
    let path = "metrics.address";
    let Some(text) = reader.optional_text(path)? else { return Ok(None) };
    let message = "must be an IP address and a port, as in 127.0.0.1:9100";
    text.trim().parse().map(Some).map_err(|_| reader.report(path, message))
}
