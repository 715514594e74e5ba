//! The origins from which web pages may call the API in a browser, and the form in which they are compared.
use url::Url;

/// The origins whose pages may call the API from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// CORS is off: browsers keep the pages of all other origins from reading answers.
    None,
    /// Pages of every origin may call the API, but without cookies. For development.
    Any,
    /// Pages of exactly these origins may call the API, with credentials. Each is in the form that [`origin`] returns.
    List(Vec<String>),
}

/// Returns the origin as browsers write it in `Origin` (lower case, no default port, no trailing slash). The error says
/// what is wrong with the text.
pub fn origin(text: &str) -> Result<String, String> {
    let expected = || format!("{text:?} is no origin like https://app.example.com or http://localhost:3000");
    let url = Url::parse(text).map_err(|_| expected())?;
    let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*')).ok_or_else(expected)?;
    let has_more = !matches!(url.path(), "" | "/")
        || url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some();
    if has_more {
        return Err(expected());
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{}{port}", url.scheme(), host.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        for (given, expected) in [
            ("https://App.Example.com/", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://münchen.example", "https://xn--mnchen-3ya.example"),
            ("capacitor://Localhost", "capacitor://localhost"),
        ] {
            assert_eq!(origin(given).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for wrong in [
            "app.example.com",
            "null",
            "*",
            "https://*.example.com",
            "https://example.com/path",
            "https://example.com?q",
            "https://example.com#f",
            "https://user@example.com",
            "https://",
            "mailto:a@example.com",
            "https://exam ple.com",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
