//! The files of the docs pages, as browsers request them: compressed and cached.
use crate::support::{Answer, TestApp};
use std::io::Read;

async fn ask(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    let call = app.visitor().get(path);
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

fn unpacked(answer: &Answer) -> Vec<u8> {
    let (packed, mut plain) = (&answer.body[..], vec![]);
    match answer.header("content-encoding") {
        Some("br") => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain).unwrap(),
        Some("gzip") => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap(),
        Some(other) => panic!("{other}"),
        None => {
            plain = packed.to_vec();
            plain.len()
        }
    };
    plain
}

/// The address of the smallest file of a page.
async fn style_of(app: &TestApp, page: &str) -> String {
    let html = ask(app, page, &[]).await.expect(200).text();
    let (_, rest) = html.split_once("rel=\"stylesheet\" href=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn every_client_gets_the_same_bytes_in_a_coding_that_it_accepts() {
    let app = TestApp::start().await;
    let style = style_of(&app, "/docs").await;
    for path in ["/openapi.json", "/openapi.yaml", &style] {
        let plain = ask(&app, path, &[]).await.expect(200);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")), "{path}");
        for (accept, coding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br", Some("br")),
            ("br;q=0, gzip", Some("gzip")),
            ("gzip;q=0, br;q=0", None),
            ("identity", None),
            ("*;q=0", None),
        ] {
            let [first, second] = [
                ask(&app, path, &[("accept-encoding", accept)]).await.expect(200),
                ask(&app, path, &[("accept-encoding", accept)]).await.expect(200),
            ];
            assert_eq!((first.header("content-encoding"), first.header("vary")), (coding, Some("Accept-Encoding")));
            assert_eq!(first.header("content-type"), plain.header("content-type"), "{path} {accept}");
            assert!(unpacked(&first) == plain.body, "{path} {accept}: it is another file");
            assert!(first.body == second.body, "{path} {accept}: a second client gets other bytes");
            assert_eq!(first.body.len() < plain.body.len() / 2, coding.is_some(), "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn who_has_a_copy_in_any_coding_is_told_that_it_is_current() {
    let app = TestApp::start().await;
    let style = style_of(&app, "/docs").await;
    for path in ["/openapi.json", &style] {
        let mut tags = vec![];
        for accept in ["identity", "gzip", "br"] {
            let tag = ask(&app, path, &[("accept-encoding", accept)]).await.header("etag").unwrap().to_owned();
            let held = ask(&app, path, &[("accept-encoding", accept), ("if-none-match", &tag)]).await.expect(304);
            assert_eq!((held.header("etag"), held.body.len()), (Some(tag.as_str()), 0), "{path} {accept}");
            tags.push(tag);
        }
        let [plain, gzip, brotli] = tags.try_into().unwrap();
        let with = |suffix: &str| format!("{}--{suffix}\"", plain.trim_end_matches('"'));
        assert_eq!([gzip, brotli], [with("gzip"), with("br")], "one tag names one sequence of bytes");
    }
}

#[tokio::test]
async fn a_head_tells_how_long_the_copy_is() {
    let app = TestApp::start().await;
    let copy = ask(&app, "/openapi.json", &[("accept-encoding", "gzip")]).await;
    let head = app.visitor().call(reqwest::Method::HEAD, "/openapi.json").header("accept-encoding", "gzip");
    let head = head.expect(200).await;
    let length = copy.body.len().to_string();
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), Some(length.as_str())));
}
