//! Reads lists with weights, as in `Accept: application/problem+json, */*;q=0.5`.
use poem::http::{HeaderMap, HeaderName};

/// The weight that the client gives to exactly this name, or `None` if the list does not contain the name. Wildcards
/// are treated as names: to find their weight, pass `*/*`.
pub fn weight(headers: &HeaderMap, list: HeaderName, name: &str) -> Option<f32> {
    // The conversion is lossy, so that one entry with invalid UTF-8 does not hide the others.
    headers.get_all(list).into_iter().find_map(|line| weight_in(&String::from_utf8_lossy(line.as_bytes()), name))
}

fn weight_in(line: &str, name: &str) -> Option<f32> {
    line.split(',').find_map(|entry| {
        let (entry, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        entry.trim().eq_ignore_ascii_case(name).then(|| quality(parameters))
    })
}

fn quality(parameters: &str) -> f32 {
    let mut pairs = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let quality = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    // A weight that is not a number is ignored, so that the entry counts as if it had none.
    quality.and_then(|(_, value)| value.trim().parse().ok()).map_or(1.0, |value: f32| value.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;
    use poem::http::header::ACCEPT;

    #[test]
    fn weights_are_read() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, "text/csv;header=present; Q=0.25, application/JSON ; q=0".parse().unwrap());
        headers.append(ACCEPT, "*/*,text/html;q=x,text/plain;q=9".parse().unwrap());
        let weight = |name| weight(&headers, ACCEPT, name);
        assert_eq!(weight("text/csv"), Some(0.25));
        assert_eq!(weight("application/json"), Some(0.0));
        assert_eq!(weight("*/*"), Some(1.0));
        assert_eq!(weight("text/html"), Some(1.0));
        assert_eq!(weight("text/plain"), Some(1.0));
        assert_eq!(weight("image/png"), None);
    }

    #[test]
    fn an_entry_that_is_no_text_hides_no_other() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_bytes(b"text/\xff;q=1, text/csv;q=0.5;a=\"\xed\x95\x9c\"").unwrap());
        assert_eq!(weight(&headers, ACCEPT, "text/csv"), Some(0.5));
    }
}
