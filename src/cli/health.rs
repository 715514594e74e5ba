//! `bizcenter health`: asks a server whether it is alive, for containers that have no curl.
use super::print;
use crate::config::ServerConfig;
use anyhow::{Context, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::Url;

/// How long connecting and answering may take together.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The most bytes that are read of a status line. A valid one is shorter.
const LONGEST_STATUS_LINE: u64 = 1024;

/// The server and the path to ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `host:port`, to connect to and for the `Host` header.
    authority: String,
    path: String,
}

impl Target {
    /// `/livez` of the server that these settings describe, on this machine.
    pub fn of(server: &ServerConfig) -> Self {
        let host = match server.host {
            IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V4(host) => host.to_string(),
            IpAddr::V6(host) if host.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
            IpAddr::V6(host) => format!("[{host}]"),
        };
        Self { authority: format!("{host}:{}", server.port), path: "/livez".to_owned() }
    }

    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
        let (Some(host), Some(port), "http") = (parsed.host_str(), parsed.port_or_known_default(), parsed.scheme())
        else {
            bail!("{url:?} must start with http://");
        };
        let path = parsed[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Self { authority: format!("{host}:{port}"), path })
    }
}

pub(super) async fn run(target: Target) -> anyhow::Result<()> {
    check(&target, TIMEOUT).await?;
    print("healthy\n")
}

async fn check(target: &Target, timeout: Duration) -> anyhow::Result<()> {
    let status = tokio::time::timeout(timeout, ask(target)).await;
    let status = status.with_context(|| format!("{} does not answer within {timeout:?}", target.authority))??;
    if status != 200 {
        bail!("http://{}{} answers {status}", target.authority, target.path);
    }
    Ok(())
}

/// Sends the request and returns the status of the answer.
async fn ask(Target { authority, path }: &Target) -> anyhow::Result<u16> {
    let connected = TcpStream::connect(authority).await;
    let mut stream = connected.with_context(|| format!("can't connect to {authority}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("can't send the request")?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_STATUS_LINE)).read_line(&mut line).await.context("can't read the answer")?;
    status(&line).with_context(|| format!("{authority} does not speak HTTP"))
}

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DatabaseUrl};
    use tokio::net::TcpListener;

    /// Serves one answer. Returns the result of the check, and the request that the server got.
    async fn asked(answer: &'static str) -> (anyhow::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}/livez?a=b", listener.local_addr().unwrap())).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (check(&target, TIMEOUT).await, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_server_that_answers_200_is_healthy() {
        let (result, request) = asked("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        result.unwrap();
        assert!(request.starts_with("GET /livez?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
    }

    #[tokio::test]
    async fn other_answers_are_failures_with_a_reason() {
        let (result, _) = asked("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        assert!(result.unwrap_err().to_string().ends_with("/livez?a=b answers 503"));
        let (result, _) = asked("SSH-2.0-OpenSSH_9.6\r\n").await;
        assert!(result.unwrap_err().to_string().ends_with("does not speak HTTP"));
        let (result, _) = asked("").await;
        assert!(result.unwrap_err().to_string().ends_with("does not speak HTTP"));
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let target = Target::parse(&format!("http://{address}")).unwrap();
        let error = check(&target, TIMEOUT).await.unwrap_err();
        assert_eq!(error.to_string(), format!("can't connect to {address}"));
    }

    #[tokio::test]
    async fn silence_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target::parse(&format!("http://{address}")).unwrap();
        let error = check(&target, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{address} does not answer within 50ms"));
    }

    #[test]
    fn the_configured_server_is_asked_on_this_machine() {
        let url = DatabaseUrl::parse("sqlite://t.db", ".".as_ref()).unwrap();
        let mut server = Config::for_tests("data".into(), url).unwrap().server;
        server.port = 8000;
        for (host, authority) in
            [("0.0.0.0", "127.0.0.1:8000"), ("::", "[::1]:8000"), ("10.0.0.7", "10.0.0.7:8000"), ("::2", "[::2]:8000")]
        {
            server.host = host.parse().unwrap();
            assert_eq!(Target::of(&server), Target { authority: authority.to_owned(), path: "/livez".to_owned() });
        }
    }

    #[test]
    fn urls_are_plain_http() {
        let target = Target::parse("http://[::1]/readyz").unwrap();
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("[::1]:80", "/readyz"));
        assert!(Target::parse("https://example.com").is_err());
        assert!(Target::parse("localhost:8000").is_err());
    }
}
