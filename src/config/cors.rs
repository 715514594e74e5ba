//! `[cors]`: which web pages of other origins may call the API.
use super::reader::{Read, Reader};
use url::Url;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsConfig {
    pub origins: Origins,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// No other origin.
    None,
    /// Every origin, without credentials; in development only.
    Any,
    /// These, with credentials, written as browsers write `Origin`: lower case, no default port, no trailing slash.
    List(Vec<String>),
}

impl CorsConfig {
    pub(super) fn read(reader: &mut Reader) -> Read<Self> {
        let path = "cors.origins";
        let list = reader.list(path)?;
        let origins = match list.as_slice() {
            [] => Origins::None,
            [any] if any == "*" && reader.environment.is_development() => Origins::Any,
            [any] if any == "*" => return Err(reader.report(path, "may be * in development only; list the origins")),
            list => {
                let bad: Vec<String> = list.iter().filter_map(|text| origin(text).err()).collect();
                if !bad.is_empty() {
                    return Err(reader.report(path, bad.join("; ")));
                }
                Origins::List(list.iter().filter_map(|text| origin(text).ok()).collect())
            }
        };
        Ok(Self { origins })
    }
}

/// The origin as browsers write it, or what is wrong with it.
fn origin(text: &str) -> Result<String, String> {
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
