//! A client that sends exactly the bytes of a test, on one connection for as long as the server keeps it open.
use crate::support::TestApp;
use crate::support::contract::CONTRACT;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A time that nothing in these tests takes, unless it hangs.
const LONG: Duration = Duration::from_secs(30);

pub struct RawClient {
    stream: TcpStream,
    token: Option<String>,
}

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawClient {
    pub async fn connect(app: &TestApp, token: Option<&str>) -> Self {
        let stream = TcpStream::connect(app.address).await.unwrap();
        Self { stream, token: token.map(str::to_owned) }
    }

    /// Sends a request with these header lines, unchanged. The answer must match the contract.
    pub async fn call(&mut self, method: &str, target: &[u8], headers: &[&[u8]], body: &[u8]) -> Reply {
        let authorization = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let mut request = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: x\r\n"].concat();
        request.extend(authorization.unwrap_or_default().into_bytes());
        for header in headers {
            request.extend([header, b"\r\n".as_slice()].concat());
        }
        request.extend(b"\r\n");
        request.extend(body);
        let reply = self.send(&request, method == "HEAD").await;
        let path = String::from_utf8_lossy(target);
        let checked = CONTRACT.check_response(method, &path, reply.status, &reply.headers, &reply.body);
        checked.unwrap_or_else(|fault| panic!("{method} {path} breaks the contract: {fault}\n{}", reply.text()));
        reply
    }

    /// Sends a body with its length.
    pub async fn send_body(&mut self, method: &str, target: &str, content_type: &[u8], body: &[u8]) -> Reply {
        let length = format!("Content-Length: {}", body.len());
        let content_type = [b"Content-Type: ", content_type].concat();
        let headers = [length.as_bytes(), &content_type];
        let headers = if content_type.len() > "Content-Type: ".len() { &headers[..] } else { &headers[..1] };
        self.call(method, target.as_bytes(), headers, body).await
    }

    /// Sends all of these bytes, and then reads one answer.
    pub async fn send(&mut self, request: &[u8], without_body: bool) -> Reply {
        timeout(LONG, self.stream.write_all(request)).await.expect("the server reads").expect("all of it is taken");
        timeout(LONG, self.read(without_body)).await.expect("there is an answer")
    }

    async fn read(&mut self, without_body: bool) -> Reply {
        let mut received = vec![];
        let head = loop {
            let end = received.windows(4).position(|window| window == b"\r\n\r\n");
            match end {
                Some(end) => break received.drain(..end + 4).collect::<Vec<_>>(),
                None => self.more(&mut received).await,
            }
        };
        let head = String::from_utf8(head).unwrap();
        let (line, rest) = head.split_once("\r\n").unwrap();
        let headers = rest.lines().filter_map(|line| line.split_once(": "));
        let headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let mut reply = Reply { status: line.split(' ').nth(1).unwrap().parse().unwrap(), headers, body: received };
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while !without_body && reply.body.len() < length {
            self.more(&mut reply.body).await;
        }
        assert_eq!(reply.body.len(), if without_body { 0 } else { length }, "{}", reply.text());
        reply
    }

    async fn more(&mut self, received: &mut Vec<u8>) {
        let count = self.stream.read_buf(received).await.expect("no reset");
        assert!(count > 0, "the connection ends within an answer: {}", String::from_utf8_lossy(received));
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status, type and detail of the error, which must have the usual body.
    #[track_caller]
    pub fn error(&self) -> (u16, String, Value) {
        assert!((400..500).contains(&self.status), "{}: {}", self.status, self.text());
        assert_eq!(self.header("content-type"), Some("application/json"), "{}: {}", self.status, self.text());
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let error = &body["error"];
        assert_eq!(error["request_id"].as_str(), self.header("x-request-id"), "{}", self.text());
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text());
        (self.status, error["type"].as_str().unwrap().to_owned(), error["detail"].clone())
    }

    /// The status and the type of the error.
    #[track_caller]
    pub fn kind(&self) -> (u16, String) {
        let (status, kind, _) = self.error();
        (status, kind)
    }
}
