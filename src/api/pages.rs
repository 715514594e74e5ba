//! Serves the contract as JSON, as YAML, and on three documentation pages.
//!
//! The scripts of the pages come with poem-openapi, so that nothing is loaded from other hosts. The content security
//! policy of each page makes the browser enforce that. poem-openapi renders one HTML file with all scripts and styles
//! inline and with its own document. We take the script and the style out of that file and serve them as separate
//! files, which browsers cache and which need no `'unsafe-inline'`. The page then loads our document. All files are
//! compressed once, and not for each visitor: the document by `build.rs`, and the scripts and styles for the first
//! visitor, because they are available only at run time. A page is rendered for its first visitor too, as all three of
//! them took 18 MiB.
use crate::api::IfNoneMatch;
use crate::contract;
use crate::server::copies::Copies;
use poem::endpoint::make_sync;
use poem::http::{StatusCode, header};
use poem::web::Html;
use poem::{IntoResponse, Request, Response, Route, RouteMethod, get};
use poem_openapi::OpenApiService;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// `/openapi.json`, `/openapi.yaml`, `/docs`, `/redoc`, `/scalar` and the files that these need.
pub fn pages() -> Route {
    let mut route = Route::new().at("/openapi.json", served(&JSON)).at("/openapi.yaml", served(&YAML));
    for (path, name, page) in PAGES {
        route = route.at(path, get(make_sync(move |_| page.response())));
        for (index, ending) in ENDINGS.into_iter().enumerate() {
            let file = make_sync(move |request| page.files[index].response(&request));
            route = route.at(asset(name, ending), get(file));
        }
    }
    route
}

static JSON: LazyLock<File> = LazyLock::new(|| {
    let [brotli, gzip] = contract::JSON_PACKED;
    File::new("/openapi.json", "application/json", Copies::built(contract::JSON, brotli, gzip), REVALIDATE)
});
static YAML: LazyLock<File> = LazyLock::new(|| {
    let [brotli, gzip] = contract::YAML_PACKED;
    File::new("/openapi.yaml", "application/yaml", Copies::built(contract::YAML, brotli, gzip), REVALIDATE)
});

/// For addresses with content that changes with each release.
const REVALIDATE: &str = "no-cache";
/// For addresses that contain the version of the content.
const FOREVER: &str = "public, max-age=31536000, immutable";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

struct File {
    path: String,
    content_type: &'static str,
    copies: Copies,
    cache_control: &'static str,
    version: String,
}

impl File {
    fn new(path: &str, content_type: &'static str, copies: Copies, cache_control: &'static str) -> Self {
        let digest = Sha256::digest(copies.plain());
        let version = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { path: path.to_owned(), content_type, copies, cache_control, version }
    }

    fn address(&self) -> String {
        format!("{}?v={}", self.path, self.version)
    }

    /// The plain file, with its compressed copies attached. The edge chooses between them, because it knows what the
    /// client accepts.
    fn response(&'static self, request: &Request) -> Response {
        let etag = format!("\"{}\"", self.version);
        let response = Response::builder()
            .header(header::ETAG, &etag)
            .header(header::CACHE_CONTROL, self.cache_control)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if IfNoneMatch::of(request).has(&self.version) {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        let mut response = response.content_type(self.content_type).body(self.copies.plain().clone());
        response.set_data(&self.copies);
        response
    }
}

fn served(file: &'static LazyLock<File>) -> RouteMethod {
    get(make_sync(move |request| file.response(&request)))
}

/// The endings of the files of a page: its style, its script, and what starts the script.
const ENDINGS: [&str; 3] = [".css", ".js", "-start.js"];

fn asset(name: &str, ending: &str) -> String {
    format!("/docs/assets/{name}{ending}")
}

struct Page {
    html: String,
    policy: String,
    /// In the order of [`ENDINGS`].
    files: [File; 3],
}

impl Page {
    /// `contents` are those of the page's files. `permits` is added to [`POLICY`].
    fn new(name: &str, title: &str, permits: &str, contents: [&'static str; 3]) -> Self {
        let types = [CSS, JAVASCRIPT, JAVASCRIPT];
        let files = [0, 1, 2].map(|index: usize| {
            File::new(&asset(name, ENDINGS[index]), types[index], Copies::of(contents[index]), FOREVER)
        });
        let [style, script, start] = files.each_ref().map(File::address);
        let html = HTML.replace("{title}", title);
        let html = html.replace("{style}", &style).replace("{script}", &script).replace("{start}", &start);
        Self { html, policy: format!("{POLICY}{permits}"), files }
    }

    fn response(&'static self) -> Response {
        Html(self.html.as_str())
            .with_header(header::CONTENT_SECURITY_POLICY, &self.policy)
            .with_header(header::CACHE_CONTROL, REVALIDATE)
            .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
            .with_header(header::REFERRER_POLICY, "no-referrer")
            .into_response()
    }
}

/// The policy of all pages. It allows our own scripts, but no inline scripts and no other host. The icons are part of
/// the scripts and styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The icon is empty, so that browsers don't request `/favicon.ico`.
const HTML: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
<script src="{script}" defer></script>
<script src="{start}" defer></script>
</head>
<body>
<div id="contract"></div>
<noscript>This page needs JavaScript. The contract itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
</body>
</html>
"#;

const SWAGGER_UI_START: &str = r##"SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#contract",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
});
"##;

const REDOC_START: &str = r##"Redoc.init(
  "/openapi.json",
  { theme: { typography: { fontFamily: "system-ui, sans-serif", headings: { fontFamily: "inherit" } } } },
  document.getElementById("contract"),
);
"##;

const SCALAR_START: &str = r##"Scalar.createApiReference("#contract", {
  url: "/openapi.json",
  proxyUrl: "",
  withDefaultFonts: false,
  hideClientButton: true,
  telemetry: false,
});
"##;

const NO_MARGIN: &str = "body { margin: 0; }\n";

/// The path of each page, the name of its files, and the page.
static PAGES: [(&str, &str, &LazyLock<Page>); 3] =
    [("/docs", SWAGGER_UI, &SWAGGER_UI_PAGE), ("/redoc", REDOC, &REDOC_PAGE), ("/scalar", SCALAR, &SCALAR_PAGE)];

const SWAGGER_UI: &str = "swagger-ui";
const REDOC: &str = "redoc";
const SCALAR: &str = "scalar";

static SWAGGER_UI_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = kept(OpenApiService::new((), "", "").swagger_ui_html());
    let style = element(html, "<style charset=\"UTF-8\">", "</style>");
    let contents = [style, script(html), SWAGGER_UI_START];
    Page::new(SWAGGER_UI, "BizCenter API – Swagger UI", "; style-src 'self'", contents)
});

static REDOC_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = kept(OpenApiService::new((), "", "").redoc_html());
    // ReDoc inserts style elements, and its search runs in a worker that is created from text.
    let permits = "; style-src 'self' 'unsafe-inline'; worker-src blob:";
    Page::new(REDOC, "BizCenter API – ReDoc", permits, [NO_MARGIN, script(html), REDOC_START])
});

static SCALAR_PAGE: LazyLock<Page> = LazyLock::new(|| {
    let html = kept(OpenApiService::new((), "", "").scalar_html());
    // Scalar inserts style elements and attributes.
    let permits = "; style-src 'self' 'unsafe-inline'";
    Page::new(SCALAR, "BizCenter API – Scalar", permits, [NO_MARGIN, script(html), SCALAR_START])
});

/// A page of poem-openapi for a service without operations. It is kept for as long as the server runs, because the
/// files are slices of it.
fn kept(html: String) -> &'static str {
    Box::leak(html.into_boxed_str()) // without the room for more that it was rendered in
}

fn script(html: &'static str) -> &'static str {
    element(html, "<script charset=\"UTF-8\">", "</script>")
}

/// The text between two marks. The marks depend on the version of poem-openapi, so that its version is pinned, and a
/// test checks each part.
fn element(html: &'static str, start: &str, end: &str) -> &'static str {
    let (_, rest) = html.split_once(start).unwrap_or_default();
    rest.split_once(end).unwrap_or_default().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::compression::WORTHWHILE;
    use poem::Endpoint;

    async fn ask(path: &str, if_none_match: &str) -> Response {
        let request = Request::builder().uri(path.parse().unwrap()).header("if-none-match", if_none_match).finish();
        pages().get_response(request).await
    }

    #[test]
    fn every_part_was_found() {
        let least = [("/docs", [100_000, 1_000_000]), ("/redoc", [10, 900_000]), ("/scalar", [10, 2_000_000])];
        for ((at, _, page), (path, [style, script])) in PAGES.iter().zip(least) {
            assert_eq!(*at, path);
            assert!(page.files[0].copies.plain().len() > style, "the style of {path}");
            assert!(page.files[1].copies.plain().len() > script, "the script of {path}");
        }
    }

    #[tokio::test]
    async fn pages_hold_no_script_and_name_no_host() {
        for (path, ..) in PAGES {
            let response = ask(path, "").await;
            let policy = response.header("content-security-policy").unwrap().to_owned();
            assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"), "{policy}");
            assert!(policy.contains("script-src 'self';"), "{policy}");
            let html = response.into_body().into_string().await.unwrap();
            assert!(html.starts_with("<!doctype html>") && html.contains("<title>BizCenter API"));
            assert!((html.len() as u64) < WORTHWHILE, "a page is not compressed at all: only its files are");
            assert!(!html.contains("http:") && !html.contains("https:"), "{html}");
            assert_eq!(html.matches("<script").count(), html.matches("defer></script>").count());
        }
    }

    #[tokio::test]
    async fn files_are_found_where_the_pages_name_them_and_are_kept() {
        let files = PAGES.iter().flat_map(|(.., page)| page.files.iter().map(move |file| (page, file)));
        for (page, file) in files {
            assert!(page.html.contains(&file.address()), "{}", file.path);
            let response = ask(&file.address(), "").await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.header("cache-control"), Some(FOREVER));
            let etag = response.header("etag").unwrap().to_owned();
            assert_eq!(ask(&file.path, &etag).await.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(ask(&file.path, "\"other\"").await.status(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn the_document_is_served_in_both_forms() {
        let json = ask("/openapi.json", "").await;
        assert_eq!(json.header("content-type"), Some("application/json"));
        assert_eq!(json.header("cache-control"), Some(REVALIDATE));
        assert_eq!(json.into_body().into_string().await.unwrap(), crate::contract::JSON);
        let yaml = ask("/openapi.yaml", "").await;
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        assert_eq!(yaml.into_body().into_string().await.unwrap(), crate::contract::YAML);
    }
}
