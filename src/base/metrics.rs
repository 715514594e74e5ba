//! The metrics of the server, in the text format of OpenMetrics 1.0. They are served at `metrics.address` to all
//! clients that can reach it, which the operator decides.
use poem::http::StatusCode;
use poem::{Body, Endpoint, IntoResponse, Response, Route, get, handler, web};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use uuid::Uuid;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters of one server. A clone is cheap and shares the counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Lookups in the cache, by the cached list and by whether it was there.
    pub cache_lookups: Family<CacheLookup, Counter>,
    /// Uses of a key to encrypt, by key: the id of a master key, or `data` for the data keys of all tenants together.
    pub key_uses: Family<KeyUse, Counter>,
    /// The uses of the most used data key, among those that this server has used. A key gets a successor before 2^32
    /// uses, which is the bound of AES-GCM with random nonces (NIST SP 800-38D, 8.3).
    pub most_data_key_uses: Gauge,
    /// The tenant of the most used data key.
    most_used: Arc<Mutex<Uuid>>,
    /// Sealed values that did not open, because they were changed or moved in the database or because their key is
    /// gone.
    pub unsealing_failures: Counter,
    /// Turns that are taken in each queue.
    queue_turns: Family<QueueTurns, Gauge>,
    /// Turns that are taken in each queue by the party that has most of them there.
    queue_turns_of_one: Family<QueueTurns, Gauge>,
    /// Requests that wait for a turn in each queue.
    queue_waiting: Family<QueueTurns, Gauge>,
    /// How often `/readyz` has checked the database and Redis.
    pub readiness_looks: Counter,
    lost_lines: LostLines,
    registry: Arc<Registry>,
}

/// Collects the number of lost access lines. `bizcenter serve` sets the function that returns it. Until then it is 0.
#[derive(Clone, Default)]
struct LostLines(Arc<OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>>);

impl fmt::Debug for LostLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LostLines")
    }
}

impl Collector for LostLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lost = ConstCounter::new(self.0.get().map_or(0, |count| count()));
        let help = "Access lines that were not logged, because too many waited to be written";
        lost.encode(encoder.encode_descriptor("access_lines_lost", help, None, lost.metric_type())?)
    }
}

/// The gauges of a queue.
#[derive(Debug, Clone, Default)]
pub struct QueueGauges {
    /// Turns that are taken.
    pub taken: Gauge,
    /// Turns that are taken by the party that has most of them.
    pub taken_by_one: Gauge,
    /// Requests that wait for a turn.
    pub waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueTurns {
    queue: &'static str,
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
        let queue_turns = Family::default();
        registry.register(
            "queue_turns",
            "Turns taken in a queue: for the database, for the checking of passwords",
            queue_turns.clone(),
        );
        let queue_turns_of_one = Family::default();
        let help = "Turns taken by the tenant or the address that has most of them";
        registry.register("queue_turns_of_one", help, queue_turns_of_one.clone());
        let queue_waiting = Family::default();
        registry.register("queue_waiting", "Requests that wait for a turn in a queue", queue_waiting.clone());
        let readiness_looks = Counter::default();
        let help = "Looks at the database and Redis for the readiness probe";
        registry.register("readiness_looks", help, readiness_looks.clone());
        let lost_lines = LostLines::default();
        registry.register_collector(Box::new(lost_lines.clone()));
        let registry = Arc::new(registry);
        let most_used = Arc::default();
        Self {
            cache_lookups,
            key_uses,
            most_data_key_uses,
            most_used,
            unsealing_failures,
            queue_turns,
            queue_turns_of_one,
            queue_waiting,
            readiness_looks,
            lost_lines,
            registry,
        }
    }
}

impl Metrics {
    /// Sets the function that returns how many access lines were lost. Only the first call has an effect.
    pub fn count_lost_lines(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.lost_lines.0.set(Box::new(count));
    }

    /// Counts a lookup in a cache.
    pub fn looked_up(&self, cache: &'static str, is_hit: bool) {
        let result = if is_hit { "hit" } else { "miss" };
        self.cache_lookups.get_or_create(&CacheLookup { cache, result }).inc();
    }

    /// Counts `more` uses of a tenant's data key, which then has `uses` in all. If the most used key gets a successor,
    /// the gauge starts again with the uses of the successor.
    pub fn data_key_used(&self, tenant: Uuid, more: u64, uses: i64) {
        self.key_uses.get_or_create(&KeyUse { key: "data".to_owned() }).inc_by(more);
        // No panic leaves an id half written.
        let mut most_used = self.most_used.lock().unwrap_or_else(PoisonError::into_inner);
        if *most_used == tenant || self.most_data_key_uses.get() < uses {
            *most_used = tenant;
            self.most_data_key_uses.set(uses);
        }
    }

    /// The gauges of a queue.
    pub fn queue(&self, queue: &'static str) -> QueueGauges {
        let gauge = |family: &Family<QueueTurns, Gauge>| family.get_or_create(&QueueTurns { queue }).clone();
        QueueGauges {
            taken: gauge(&self.queue_turns),
            taken_by_one: gauge(&self.queue_turns_of_one),
            waiting: gauge(&self.queue_waiting),
        }
    }

    /// All metrics as OpenMetrics text.
    pub fn print(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Serves `GET /metrics` and nothing else.
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
        metrics.data_key_used(Uuid::from_u128(1), 7, 7);
        metrics.data_key_used(Uuid::from_u128(2), 2, 5);
        let text = metrics.print().unwrap();
        for line in [
            "bizcenter_cache_lookups_total{cache=\"items\",result=\"hit\"} 2",
            "bizcenter_cache_lookups_total{cache=\"items\",result=\"miss\"} 1",
            "bizcenter_key_uses_total{key=\"data\"} 9",
            "bizcenter_most_data_key_uses 7",
            "bizcenter_unsealing_failures_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_key_that_gets_a_successor_is_no_longer_the_most_used() {
        let metrics = Metrics::default();
        let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let steps = [(ada, 90, 90), (bob, 50, 90), (ada, 1, 1), (bob, 51, 51), (ada, 2, 51)];
        for (tenant, uses, most) in steps {
            metrics.data_key_used(tenant, 1, uses);
            assert_eq!(metrics.most_data_key_uses.get(), most, "{tenant} {uses}");
        }
    }
}
