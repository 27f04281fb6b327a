//! What a scraper of Prometheus is told, in the text form of OpenMetrics 1.0.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::app::App;
use crate::problem::{Answer, Kind, Problem};

/// A request's path as it is told: its first part, of which there are few.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    api: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ApiLabel {
    api: String,
}

/// Counters of this process.
pub(crate) struct Metrics {
    calls_live: Gauge,
    durations: Family<ApiLabel, Histogram>,
    registry: Registry,
    requests: Family<Labels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("offhook");
        let (calls_live, requests) = (Gauge::default(), Family::default());
        // From 0.5 ms to 16 s.
        let buckets = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let durations = Family::new_with_constructor(buckets as fn() -> Histogram);
        registry.register("calls_live", "Calls that go on in this process", calls_live.clone());
        registry.register("http_requests", "Requests that were answered", requests.clone());
        let help = "From a request to the beginning of its answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        Self { calls_live, durations, registry, requests }
    }
}

impl Metrics {
    pub(crate) fn answered(&self, api: &str, method: &str, status: StatusCode, took: Duration) {
        let (api, status) = (api.to_owned(), status.as_u16());
        self.durations.get_or_create(&ApiLabel { api: api.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Labels { api, method: method.to_owned(), status }).inc();
    }
}

/// The counters of this process, for Prometheus.
#[utoipa::path(get, operation_id = "get_metrics", path = "/metrics", tag = "health", responses((status = 200, description = "OpenMetrics", content_type = "application/openmetrics-text")))]
pub(crate) async fn metrics(State(app): State<App>) -> Answer<Response> {
    let metrics = app.metrics();
    metrics.calls_live.set(i64::try_from(app.engine().live_calls()).unwrap_or(i64::MAX));
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|_| Problem::new(Kind::Internal, "the metrics cannot be written"))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Which API a path belongs to: of others than those that there are, nothing is kept.
pub(crate) fn api_of(path: &str) -> &'static str {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    ["dialflo", "dialro", "voxcore", "voxstack", "health", "metrics", "recordings", "calls", "docs", "openapi"]
        .into_iter()
        .find(|api| *api == first)
        .unwrap_or("root")
}
