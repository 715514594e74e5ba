//! Limits the head of a request. The limit is the same over HTTP/1.1, where hyper enforces it while it reads, and over
//! HTTP/2, where heads arrive compressed.
use poem::Request;
use poem::http::{StatusCode, Version, header};

/// The bytes of a head: the address of the request, and the headers with the separators that HTTP/1.1 has.
pub const MAX_HEAD: usize = 64 * 1024;
/// The bytes of an address alone. The limit is a little below [`MAX_HEAD`], so that an address that is too long can be
/// told apart from headers that are too large. hyper itself takes no address of 64 KiB.
const MAX_TARGET: usize = 60 * 1024;
/// The number of headers. It is the limit that hyper has over HTTP/1.1.
const MAX_FIELDS: usize = 100;
/// The bytes that HTTP/1.1 adds to each header: `: ` and the end of the line.
const BETWEEN: usize = 4;

/// The status of a request with a head that is too large: 414 if the address alone is too large, 431 (RFC 6585)
/// otherwise.
pub fn excess(request: &Request) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_TARGET {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let fields = || request.headers().iter();
    let bytes: usize = fields().map(|(name, value)| name.as_str().len() + value.len() + BETWEEN).sum();
    // Over HTTP/2 browsers send each cookie in a header of its own (RFC 9113, 8.2.3).
    let is_split = request.version() >= Version::HTTP_2;
    let count = fields().filter(|(name, _)| !is_split || *name != header::COOKIE).count();
    (target + bytes > MAX_HEAD || count > MAX_FIELDS).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    fn request(version: Version, target: &str, name: &'static str, values: &[&str]) -> Request {
        let mut request = Request::builder().version(version).uri(target.parse().unwrap()).finish();
        for value in values {
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_headers() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let status =
                |values: &[&str]| excess(&request(version, "/", "x-made-up", values)).map(|status| status.as_u16());
            assert_eq!(status(&["x"; 100]), None);
            assert_eq!(status(&["x"; 101]), Some(431));
            assert_eq!(status(&[&"x".repeat(60_000)]), None);
            assert_eq!(status(&["x".repeat(30_000).as_str(); 3]), Some(431));
        }
    }

    #[test]
    fn cookies_count_as_one_header_where_they_come_one_by_one() {
        let cookies = ["a=b"; 300];
        assert_eq!(excess(&request(Version::HTTP_2, "/", "cookie", &cookies)), None);
        assert!(excess(&request(Version::HTTP_11, "/", "cookie", &cookies)).is_some());
    }

    #[test]
    fn a_long_address_is_told_apart() {
        let address =
            |length: usize| excess(&request(Version::HTTP_2, &format!("/?{}", "x".repeat(length)), "a", &["b"]));
        assert_eq!(address(61_000), None);
        assert_eq!(address(62_000), Some(StatusCode::URI_TOO_LONG));
    }
}
