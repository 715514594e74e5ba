//! Serves paths of earlier systems in place. Programs that still use these paths go on working, and the answers name
//! the new paths.
use crate::base::request::{FormDefaults, is_form};
use poem::Request;
use poem::http::uri::PathAndQuery;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

/// Old beginning → new beginning. A beginning must end where a segment ends.
const BEGINNINGS: [(&str, &str); 9] = [
    ("/api/auth", "/api/v1/auth"),
    ("/api/items", "/api/v1/items"),
    ("/auth", "/api/v1/auth"),
    ("/users", "/api/v1/users"),
    ("/items", "/api/v1/items"),
    ("/chat", "/api/v1/chat"),
    ("/feedback", "/api/v1/feedback"),
    ("/status", "/api/v1/status"),
    ("/modes", "/api/v1/chat/modes"),
];

/// Old path → new path, after the beginning was replaced.
const WHOLE: [(&str, &str); 4] = [
    ("/api/v1/auth/signup", "/api/v1/auth/register"),
    ("/api/v1/users/profile", "/api/v1/users/me"),
    ("/api/v1/users/usage", "/api/v1/users/me/usage"),
    ("/api/v1/health", "/health"),
];

const LOGIN: &str = "/api/v1/auth/login";
const LOGOUT: &str = "/api/v1/auth/logout";

/// The path for the form of a sign-in, which earlier systems took at their `/auth/login`. Their clients often leave
/// `grant_type` out, because those systems did not require it.
const FORM_LOGIN: &str = "/api/v1/auth/token";
const FORM_DEFAULTS: FormDefaults = FormDefaults(&[("grant_type", "password")]);

/// Old page → new page. People have the old pages in their bookmarks, and so browsers are redirected.
const PAGES: [(&str, &str); 1] = [("/api/docs", "/docs")];

/// The date since which the old paths are deprecated (RFC 9745): 2026-11-25.
const DEPRECATED_SINCE: HeaderValue = HeaderValue::from_static("@1795564800");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// How a path is served.
#[derive(Debug, PartialEq, Eq)]
pub enum Path {
    Current,
    /// As the contained path, which lacks the slash at the end.
    Slash(String),
    Old(String),
    /// By a redirect to the contained path.
    Moved(&'static str),
}

pub fn look_up(path: &str) -> Path {
    let trimmed = match path.strip_suffix('/') {
        Some(trimmed) if trimmed.is_empty() || trimmed.ends_with('/') => return Path::Current,
        Some(trimmed) => trimmed,
        None => path,
    };
    if let Some((_, new)) = PAGES.iter().find(|(old, _)| *old == trimmed) {
        return Path::Moved(new);
    }
    let begins = |old: &str| trimmed.strip_prefix(old).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let begun = BEGINNINGS.iter().find_map(|(old, new)| Some(format!("{new}{}", begins(old)?)));
    let now = begun.as_deref().unwrap_or(trimmed);
    let whole = WHOLE.iter().find(|(old, _)| *old == now).map(|(_, new)| (*new).to_owned());
    match whole.or(begun) {
        Some(new) => Path::Old(new),
        None if trimmed != path => Path::Slash(trimmed.to_owned()),
        None => Path::Current,
    }
}

/// Replaces an old path in the request with the new one, and returns how the path is served.
pub fn rewrite(request: &mut Request) -> Path {
    let mut found = look_up(request.uri().path());
    if found == Path::Old(LOGIN.to_owned()) && is_form(request) {
        found = Path::Old(FORM_LOGIN.to_owned());
        request.set_data(FORM_DEFAULTS);
    }
    if signs_out_by_get(request, &found) {
        found = Path::Old(LOGOUT.to_owned());
        request.set_method(Method::POST);
    }
    if let Path::Slash(new) | Path::Old(new) = &found {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{new}{query}")).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    found
}

/// Whether this is a GET that signs out, as in earlier systems, at any of the paths of sign-out. A GET should change
/// nothing, because programs send it by themselves: browsers that fetch pages ahead, scanners of mails. It is
/// acceptable here: `SameSite=Strict` keeps the cookie away from requests that other sites cause, links in mails among
/// them, and no link carries an access token. A browser that fetches ahead on this site says so in a header, and gets
/// 405. The remaining risk is a device that has to sign in again.
fn signs_out_by_get(request: &Request, path: &Path) -> bool {
    let is_of_sign_out = match path {
        Path::Current => request.uri().path() == LOGOUT,
        Path::Slash(new) | Path::Old(new) => new == LOGOUT,
        Path::Moved(_) => false,
    };
    is_of_sign_out && request.method() == Method::GET && !is_ahead(request.headers())
}

/// Whether a browser fetches this page ahead, before a user has requested it.
fn is_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"].iter().any(|name| headers.contains_key(*name))
}

/// The `Path` of the sign-in cookie.
const COOKIE_PATH: &str = "/api/v1/auth";

/// Sets each cookie for the new paths a second time, for the old path that was requested. A browser that only uses old
/// paths would otherwise never send it.
pub fn extend_cookies(old: &str, headers: &mut HeaderMap) {
    let begins = |beginning: &str| old.strip_prefix(beginning).is_some_and(|rest| rest.starts_with('/'));
    let is_of_cookie = |(beginning, new): &&(&str, &str)| *new == COOKIE_PATH && begins(beginning);
    let Some((beginning, _)) = BEGINNINGS.iter().find(is_of_cookie) else { return };
    let given: Vec<_> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    for cookie in given.iter().filter_map(|cookie| cookie.to_str().ok()) {
        let attributes = cookie.split("; ").map(|part| match part.strip_prefix("Path=") {
            Some(COOKIE_PATH) => format!("Path={beginning}"),
            _ => part.to_owned(),
        });
        let cookie = attributes.collect::<Vec<_>>().join("; ");
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Tells the client that the path is deprecated, and which path replaces it (RFC 9745, RFC 8288).
pub fn tell(new: &str, headers: &mut HeaderMap) {
    headers.insert(DEPRECATION, DEPRECATED_SINCE);
    if let Ok(link) = HeaderValue::try_from(format!("<{new}>; rel=\"successor-version\"")) {
        headers.append(header::LINK, link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_old_path_has_a_new_one() {
        for (old, new) in [
            ("/api/v1/auth/signup", "/api/v1/auth/register"),
            ("/api/auth/signup", "/api/v1/auth/register"),
            ("/auth/signup/", "/api/v1/auth/register"),
            ("/api/v1/users/profile", "/api/v1/users/me"),
            ("/users/profile", "/api/v1/users/me"),
            ("/users/usage", "/api/v1/users/me/usage"),
            ("/api/v1/health", "/health"),
            ("/api/items/5", "/api/v1/items/5"),
            ("/items", "/api/v1/items"),
            ("/chat/stream", "/api/v1/chat/stream"),
            ("/feedback", "/api/v1/feedback"),
            ("/status/", "/api/v1/status"),
            ("/modes", "/api/v1/chat/modes"),
        ] {
            assert_eq!(look_up(old), Path::Old(new.to_owned()), "{old}");
        }
    }

    #[test]
    fn all_other_paths_are_themselves() {
        for path in [
            "/",
            "//",
            "/api/v1/tasks//",
            "/health",
            "/api/v1/tasks",
            "/api/v1/auth/login",
            "/authors",
            "/api/authx",
            "/docs",
        ] {
            assert_eq!(look_up(path), Path::Current, "{path}");
        }
        assert_eq!(look_up("/api/v1/tasks/"), Path::Slash("/api/v1/tasks".into()));
        assert_eq!(look_up("/api/docs"), Path::Moved("/docs"));
    }

    #[test]
    fn a_cookie_of_sign_in_is_for_the_path_that_it_was_asked_by_too() {
        let cookies = |old: &str| -> Vec<String> {
            let mut headers = HeaderMap::new();
            let cookie = "refresh_token=Path=x; HttpOnly; Path=/api/v1/auth; Max-Age=5";
            headers.insert(header::SET_COOKIE, HeaderValue::from_static(cookie));
            extend_cookies(old, &mut headers);
            let all = headers.get_all(header::SET_COOKIE).iter();
            all.skip(1).map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(cookies("/auth/login"), ["refresh_token=Path=x; HttpOnly; Path=/auth; Max-Age=5"]);
        assert_eq!(cookies("/api/auth/refresh/"), ["refresh_token=Path=x; HttpOnly; Path=/api/auth; Max-Age=5"]);
        for path in ["/api/v1/auth/login", "/authors/1", "/users/me", "/auth"] {
            assert!(cookies(path).is_empty(), "{path}");
        }
    }

    fn rewritten(method: Method, path: &str, headers: &[(&str, &str)]) -> (Path, String) {
        let builder = Request::builder().method(method).uri_str(path);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        let mut request = builder.finish();
        let path = rewrite(&mut request);
        (path, format!("{} {}", request.method(), request.uri()))
    }

    #[test]
    fn a_form_at_the_old_login_asks_for_a_token() {
        let form = [("content-type", "Application/X-WWW-Form-urlencoded; charset=utf-8")];
        for path in ["/auth/login", "/auth/login/", "/api/auth/login?x=1"] {
            let (found, asked) = rewritten(Method::POST, path, &form);
            assert_eq!(found, Path::Old(FORM_LOGIN.into()), "{path}");
            assert!(asked.starts_with("POST /api/v1/auth/token"), "{asked}");
            let (found, asked) = rewritten(Method::POST, path, &[("content-type", "application/json")]);
            assert_eq!(found, Path::Old(LOGIN.into()), "{path}");
            assert!(asked.starts_with("POST /api/v1/auth/login"), "{asked}");
        }
        for (path, expected) in [(LOGIN, Path::Current), ("/api/v1/auth/login/", Path::Slash(LOGIN.into()))] {
            assert_eq!(rewritten(Method::POST, path, &form), (expected, format!("POST {LOGIN}")));
        }
    }

    #[test]
    fn sign_out_by_get_is_an_old_path_unless_a_browser_fetches_ahead() {
        for path in [LOGOUT, "/api/v1/auth/logout/", "/auth/logout", "/api/auth/logout/"] {
            let posted = format!("POST {LOGOUT}");
            assert_eq!(rewritten(Method::GET, path, &[]), (Path::Old(LOGOUT.into()), posted), "{path}");
            for method in [Method::HEAD, Method::PUT, Method::OPTIONS] {
                assert_eq!(rewritten(method.clone(), path, &[]).1, format!("{method} {LOGOUT}"), "{path}");
            }
            for header in [("sec-purpose", "prefetch;prerender"), ("purpose", "prefetch"), ("x-moz", "prefetch")] {
                assert_eq!(rewritten(Method::GET, path, &[header]).1, format!("GET {LOGOUT}"), "{path}: {header:?}");
            }
        }
        assert_eq!(rewritten(Method::POST, LOGOUT, &[]).0, Path::Current);
        assert_eq!(rewritten(Method::GET, "/api/v1/auth/logout-all", &[]).0, Path::Current);
    }
}
