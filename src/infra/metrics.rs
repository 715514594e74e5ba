//! What the server counts of itself, in the text format of OpenMetrics 1.0; served to whom the operator lets reach
//! `metrics.address`.
use poem::http::StatusCode;
use poem::{Body, Endpoint, IntoResponse, Response, Route, get, handler, web};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of one server. Cheap to clone; a clone counts on.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Lists that were looked for in the cache, by what was cached and whether it was there.
    pub cache_lookups: Family<CacheLookup, Counter>,
    /// Uses of a key to encrypt, by key: the id of a master key, or `data` for those of all tenants.
    pub key_uses: Family<KeyUse, Counter>,
    /// Uses of the data key that was used most, of those that this server used: 2^32 is the bound of AES-GCM with random
    /// nonces (NIST SP 800-38D, 8.3), before which it gets a successor.
    pub most_data_key_uses: Gauge,
    /// Sealed values that did not open: they were changed or moved in the database, or their key is gone.
    pub unsealing_failures: Counter,
    registry: Arc<Registry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CacheLookup {
    pub cache: &'static str,
    /// `hit` or `miss`.
    pub result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyUse {
    pub key: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bizcenter");
        let cache_lookups = Family::default();
        registry.register("cache_lookups", "Lists looked for in the cache", cache_lookups.clone());
        let key_uses = Family::default();
        registry.register("key_uses", "Uses of a key to encrypt", key_uses.clone());
        let most_data_key_uses = Gauge::default();
        let help = "Uses of the most used data key; its bound is 2^32";
        registry.register("most_data_key_uses", help, most_data_key_uses.clone());
        let unsealing_failures = Counter::default();
        registry.register("unsealing_failures", "Sealed values that did not open", unsealing_failures.clone());
        let registry = Arc::new(registry);
        Self { cache_lookups, key_uses, most_data_key_uses, unsealing_failures, registry }
    }
}

impl Metrics {
    /// Counts a look into a cache.
    pub fn looked_up(&self, cache: &'static str, is_hit: bool) {
        let result = if is_hit { "hit" } else { "miss" };
        self.cache_lookups.get_or_create(&CacheLookup { cache, result }).inc();
    }

    /// Everything counted, as OpenMetrics text.
    pub fn print(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// `GET /metrics`, and nothing else.
    pub fn endpoint(&self) -> impl Endpoint<Output = Response> + 'static {
        use poem::EndpointExt;
        Route::new().at("/metrics", get(scrape)).data(self.clone()).map_to_response()
    }
}

#[handler]
fn scrape(web::Data(metrics): web::Data<&Metrics>) -> Response {
    match metrics.print() {
        Ok(text) => Response::builder().content_type(CONTENT_TYPE).body(Body::from_string(text)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(), // writing to memory does not fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_printed() {
        let metrics = Metrics::default();
        metrics.looked_up("items", true);
        metrics.clone().looked_up("items", true);
        metrics.looked_up("items", false);
        metrics.most_data_key_uses.set(7);
        let text = metrics.print().unwrap();
        for line in [
            "bizcenter_cache_lookups_total{cache=\"items\",result=\"hit\"} 2",
            "bizcenter_cache_lookups_total{cache=\"items\",result=\"miss\"} 1",
            "bizcenter_most_data_key_uses 7",
            "bizcenter_unsealing_failures_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is not in:\n{text}");
        }
    }
}
