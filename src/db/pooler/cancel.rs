//! Cancels a statement through a pooler, and waits until the pooler has passed the request on.
//!
//! PostgreSQL lets a client close its connection as soon as it has sent a cancel request, and tokio-postgres does so.
//! PgBouncer before 1.20 may then exit with a fatal error, which breaks the connections of all its clients. Therefore
//! the connection is kept open until the other end closes it, as in libpq.
use futures_util::TryFutureExt;
use futures_util::future::{MapOk, join_all};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

const DEFAULT_PORT: u16 = 5432;

/// Sends the cancel request to each host in the URL, because it is not known here to which of them the connection
/// leads. The other hosts ignore a key that is not theirs.
pub async fn cancel(config: &Config, tls: Option<rustls::ClientConfig>, token: CancelToken) -> anyhow::Result<()> {
    let asked = places(config).into_iter().map(|(place, name)| ask_at(place, name, tls.clone(), token.clone()));
    join_all(asked).await.into_iter().collect() // a host that does not answer delays no other
}

async fn ask_at(
    place: Place,
    name: String,
    tls: Option<rustls::ClientConfig>,
    token: CancelToken,
) -> anyhow::Result<()> {
    match place {
        Place::Address(address, port) => ask(TcpStream::connect((address, port)).await?, name, tls, token).await,
        Place::Host(host, port) => ask(TcpStream::connect((host, port)).await?, name, tls, token).await,
        Place::Socket(file) => ask(UnixStream::connect(file).await?, name, tls, token).await,
    }
}

enum Place {
    Address(IpAddr, u16),
    Host(String, u16),
    Socket(PathBuf),
}

/// The places of all hosts in the URL, each with the name that the certificate there must have.
fn places(config: &Config) -> Vec<(Place, String)> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let place = |n: usize| {
        let port = ports.get(n).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        Some(match (addresses.get(n), hosts.get(n)) {
            (Some(address), Some(Host::Tcp(name))) => (Place::Address(*address, port), name.clone()),
            (Some(address), _) => (Place::Address(*address, port), String::new()),
            (None, Some(Host::Tcp(name))) => (Place::Host(name.clone(), port), name.clone()),
            (None, Some(Host::Unix(folder))) => (Place::Socket(folder.join(format!(".s.PGSQL.{port}"))), String::new()),
            (None, None) => return None,
        })
    };
    (0..hosts.len().max(addresses.len())).filter_map(place).collect()
}

async fn ask<S>(line: S, name: String, tls: Option<rustls::ClientConfig>, token: CancelToken) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let line = Patient(line);
    match tls {
        Some(tls) => {
            let mut connector = MakeRustlsConnect::new(tls);
            let connector = MakeTlsConnect::<Patient<S>>::make_tls_connect(&mut connector, &name)?;
            token.cancel_query_raw(line, PatientTls(connector)).await?;
        }
        None => token.cancel_query_raw(line, NoTls).await?,
    }
    Ok(())
}

/// A connection whose shutdown waits until the other end closes it.
struct Patient<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [0; 64];
            let mut read = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.0).poll_read(context, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {} // the bytes are ignored
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Patient<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

/// TLS with the same shutdown. It sends no `close_notify`, because the other end would treat that as a closed
/// connection.
struct PatientTls<T>(T);

impl<S, T: TlsConnect<S>> TlsConnect<S> for PatientTls<T> {
    type Stream = Patient<T::Stream>;
    type Error = T::Error;
    type Future = MapOk<T::Future, fn(T::Stream) -> Patient<T::Stream>>;

    fn connect(self, stream: S) -> Self::Future {
        self.0.connect(stream).map_ok(Patient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_line_is_shut_down_when_the_other_end_closes_it() {
        let (ours, mut theirs) = duplex(64);
        let mut line = Patient(ours);
        line.write_all(b"stop").await.unwrap();
        assert!(timeout(Duration::from_millis(50), line.shutdown()).await.is_err(), "the other end is still there");
        let mut told = [0; 4];
        theirs.read_exact(&mut told).await.unwrap();
        theirs.write_all(&[1; 40]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), line.shutdown()).await.is_err());
        drop(theirs);
        timeout(Duration::from_secs(5), line.shutdown()).await.unwrap().unwrap();
    }
}
