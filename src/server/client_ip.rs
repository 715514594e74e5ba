//! Finds the client's address behind our own proxies. poem's `RealIp` believes such headers from any sender.
use crate::base::request::{ClientIp, ForwardedScheme};
use ipnet::IpNet;
use poem::Request;
use poem::http::uri::Scheme;
use std::net::{IpAddr, SocketAddr};

/// Returns `None` for a peer without an IP address, as in tests without a socket.
pub fn client_ip(request: &Request, trusted: &[IpNet]) -> Option<ClientIp> {
    let peer = peer(request)?;
    if !is_trusted(peer, trusted) {
        return Some(ClientIp(peer));
    }
    // Proxies append to the list. Therefore it is read from its right end, as far as trusted proxies have written it.
    // The entries before that come from the client and may be any bytes. They must not hide the entries of the proxies.
    let lines = request.headers().get_all("x-forwarded-for").iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    let mut client = peer;
    for hop in hops.map_while(parse) {
        client = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    Some(ClientIp(client))
}

pub fn forwarded_scheme(request: &Request, trusted: &[IpNet]) -> ForwardedScheme {
    let last = request.headers().get_all("x-forwarded-proto").iter().next_back();
    let last = last.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let named = last.as_deref().and_then(|value| value.rsplit(',').next());
    let believed = peer(request).is_some_and(|peer| is_trusted(peer, trusted));
    match named.map(str::trim).filter(|_| believed) {
        Some(name) if name.eq_ignore_ascii_case("https") => ForwardedScheme(Scheme::HTTPS),
        Some(_) => ForwardedScheme(Scheme::HTTP),
        None => ForwardedScheme(request.scheme().clone()),
    }
}

/// The address of the peer. An IPv4 client of an IPv6 socket appears as `::ffff:192.0.2.1` and must be the same client
/// as `192.0.2.1`.
fn peer(request: &Request) -> Option<IpAddr> {
    request.remote_addr().as_socket_addr().map(|address| address.ip().to_canonical())
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

/// Parses an entry in one of these forms: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let ip = bare.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::Addr;
    use poem::web::RemoteAddr;

    fn asked_by(peer: &str, forwarded: &[&str]) -> Request {
        let peer = RemoteAddr(Addr::SocketAddr(peer.parse().unwrap()));
        let mut builder = poem::http::Request::builder();
        for line in forwarded {
            builder = builder.header("X-Forwarded-For", poem::http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let (parts, ()) = builder.body(()).unwrap().into_parts();
        let parts = poem::RequestParts::from((parts, Default::default(), peer, Scheme::HTTP));
        Request::from_parts(parts, poem::Body::empty())
    }

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        client_ip(&asked_by(peer, forwarded), &trusted).unwrap().0.to_string()
    }

    #[test]
    fn strangers_are_not_believed() {
        assert_eq!(client("192.0.2.9:1", &["198.51.100.7"]), "192.0.2.9");
        assert_eq!(client("[::ffff:192.0.2.9]:1", &["198.51.100.7"]), "192.0.2.9");
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        assert_eq!(client("10.0.0.1:1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1:1", &["203.0.113.5, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:1", &["1.1.1.1", "198.51.100.7", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(client("[fd00::1]:1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("[::ffff:10.0.0.1]:1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "the farthest, if all are ours");
    }

    #[test]
    fn ports_and_brackets_are_read() {
        for (hop, ip) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
        ] {
            assert_eq!(client("10.0.0.1:1", &[hop]), ip);
        }
    }

    #[test]
    fn garbage_ends_the_walk() {
        for garbage in ["unknown", "", "_hidden", "198.51.100.7:99999", "é", "198.51.100.7 x"] {
            assert_eq!(client("10.0.0.1:1", &["203.0.113.5", garbage, "10.0.0.2"]), "10.0.0.2", "{garbage:?}");
        }
    }

    #[test]
    fn what_a_client_sent_hides_nothing_that_a_proxy_put_after_it() {
        assert_eq!(client("10.0.0.1:1", &["é, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:1", &["\u{ac00}, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
    }

    #[test]
    fn only_a_trusted_proxy_names_the_scheme() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let https = |peer: &str, value: &str| {
            let mut request = asked_by(peer, &[]);
            let value = poem::http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().insert("x-forwarded-proto", value);
            forwarded_scheme(&request, &trusted).is_https()
        };
        assert!(https("10.0.0.1:1", "https"));
        assert!(https("10.0.0.1:1", "http, HTTPS") && https("10.0.0.1:1", "é, https"));
        assert!(!https("10.0.0.1:1", "https, http"));
        assert!(!https("192.0.2.9:1", "https"));
    }
}
