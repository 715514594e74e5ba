//! The headers that tell browsers to be careful.
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of every answer. They replace those that the endpoint has set.
const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    // This is right even if CORS is enabled: the header restricts `<img>` and `<script>`, while `fetch` follows the
    // CORS headers.
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Headers of answers that don't set them. Some endpoints do: the documentation pages need scripts, and files may be
/// cached.
const BY_DEFAULT: [(HeaderName, HeaderValue); 2] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// One year. Subdomains are not included, because they may belong to others.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

pub fn harden(answer: &mut HeaderMap, hsts: bool) {
    for (name, value) in ALWAYS {
        answer.insert(name, value);
    }
    for (name, value) in BY_DEFAULT {
        answer.entry(name).or_insert(value);
    }
    if hsts {
        answer.insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
