//! The metrics (docs/observability.md) and their text forms.
//!
//! Label values are route names and closed enums, so that no client can make a series. Every series a route can have
//! exists from the start: `rate()` needs the zero before the one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::log::Lost;
use super::process::Process;
use super::states::States;
use super::target::Seen;
use crate::config::LogFormat;
use crate::event::{Outcome, RefusalKind};
use crate::identity::Validity;

/// The media type of OpenMetrics 1.0 text.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of the Prometheus text exposition format.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: Vec<Arc<RouteMetrics>>,
    not_before: Family<Labels, Gauge>,
    not_after: Family<Labels, Gauge>,
    generation: Gauge,
    last_reload_success: Gauge<f64, AtomicU64>,
    reloads_succeeded: Counter,
    reloads_failed: Counter,
    pub(super) states: States,
}

/// What the metrics say of a generation.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its number.
    pub number: u64,
    /// The life of the gate's certificate.
    pub server: Validity,
    /// The life of the CA that expires first.
    pub client_ca: Validity,
    /// The lives of the revocation lists.
    pub lists: Vec<Validity>,
    /// How many entries of the CA bundles cannot vouch.
    pub left_out: usize,
    /// How many settings weaken the gate.
    pub unsafe_settings: usize,
    /// What it is made of, by label.
    pub digests: [(&'static str, String); 4],
}

/// The metrics of one route, resolved once so that the data path only adds to atomics.
#[derive(Debug)]
pub struct RouteMetrics {
    /// The value of the `route` label.
    pub(super) name: Arc<str>,
    pub(super) format: LogFormat,
    pub(super) accepted: Counter,
    pub(super) open: Gauge,
    pub(super) closed: Vec<Counter>,
    pub(super) refused: Vec<Counter>,
    pub(super) duration: Histogram,
    pub(super) to_target: Counter,
    pub(super) from_target: Counter,
    handshake: Histogram,
    pub(super) target_connect: Histogram,
    pub(super) target: Seen,
    accept_errors: Counter,
}

impl RouteMetrics {
    /// Counts a handshake that led to a verdict; `took` is the time since accept.
    pub fn handshake(&self, took: std::time::Duration) {
        self.handshake.observe(took.as_secs_f64());
    }

    /// Counts an `accept` that failed for want of descriptors or memory, or for a connection already gone.
    pub fn accept_error(&self) {
        self.accept_errors.inc();
    }
}

impl Metrics {
    /// Makes every series of the named routes. `format` is how their connection records look.
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a Arc<str>>, format: LogFormat) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let ours = registry.sub_registry_with_prefix("portcullis");

        let build = Family::<Labels, Gauge>::default();
        build
            .get_or_create(&vec![("version", env!("CARGO_PKG_VERSION").to_owned())])
            .set(1);
        ours.register("build_info", "The version that runs; always 1", build);
        let generation = Gauge::<i64, AtomicI64>::default();
        ours.register(
            "generation",
            "The number of the set of certificates, CAs and rules in use",
            generation.clone(),
        );
        let not_before = Family::<Labels, Gauge>::default();
        ours.register(
            "certificate_not_before_timestamp_seconds",
            "Since when the certificate of this role that expires first is good, in seconds since 1970",
            not_before.clone(),
        );
        let not_after = Family::<Labels, Gauge>::default();
        ours.register(
            "certificate_not_after_timestamp_seconds",
            "When the first certificate of this role expires, in seconds since 1970",
            not_after.clone(),
        );
        let last_reload_success = Gauge::<f64, AtomicU64>::default();
        ours.register(
            "last_reload_success_timestamp_seconds",
            "When the set in use was published, in seconds since 1970",
            last_reload_success.clone(),
        );
        let reloads = Family::<Labels, Counter>::default();
        ours.register(
            "reloads",
            "Changed sets of files, by what became of them",
            reloads.clone(),
        );
        let reloads =
            |result: &str| reloads.get_or_create_owned(&vec![("result", result.to_owned())]);

        ours.register_collector(Box::new(Lost));

        let names: Vec<&Arc<str>> = routes.into_iter().collect();
        let states = States::register(ours, names.iter().copied());
        let families = Families::register(ours);
        let routes = names.into_iter().map(|name| families.route(name, format));
        let routes = routes.map(Arc::new).collect();
        Self {
            registry,
            routes,
            not_before,
            not_after,
            generation,
            last_reload_success,
            reloads_succeeded: reloads("success"),
            reloads_failed: reloads("failure"),
            states,
        }
    }

    /// The metrics of each route, in the order the routes were named.
    pub fn routes(&self) -> &[Arc<RouteMetrics>] {
        &self.routes
    }

    /// Says which generation is in use.
    pub fn published(&self, summary: &Summary) {
        self.generation.set(gauged(summary.number));
        self.states
            .unsafe_settings
            .set(gauged(summary.unsafe_settings as u64));
        self.states.trust.set(&summary.digests);
        self.stands(summary);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.last_reload_success.set(now.as_secs_f64());
    }

    /// Says what of the generation in use changes as time passes: who vouches, and when the first of them expires.
    pub fn stands(&self, summary: &Summary) {
        for (role, life) in [("server", summary.server), ("client_ca", summary.client_ca)] {
            for (family, time) in [
                (&self.not_before, life.not_before),
                (&self.not_after, life.not_after),
            ] {
                family
                    .get_or_create(&vec![("role", role.to_owned())])
                    .set(gauged(time.as_secs()));
            }
        }
        self.states.left_out.set(gauged(summary.left_out as u64));
        self.states.lists.set(summary.lists.clone());
    }

    /// Counts a changed set of files that was published.
    pub fn reload_succeeded(&self) {
        self.reloads_succeeded.inc();
    }

    /// Counts an attempt that left everything as it was.
    pub fn reload_failed(&self) {
        self.reloads_failed.inc();
    }

    /// The OpenMetrics 1.0 text.
    pub fn open_metrics(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }

    /// The Prometheus text format, 0.0.4: there a counter's family carries the `_total` of its samples.
    pub fn prometheus_text(&self) -> String {
        let open_metrics = self.open_metrics();
        let is_counter =
            |family: &str| open_metrics.contains(&format!("# TYPE {family} counter\n"));
        let mut text = String::with_capacity(open_metrics.len() + 256);
        for line in open_metrics
            .lines()
            .filter(|line| *line != "# EOF" && !line.starts_with("# UNIT "))
        {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("#"), Some(keyword @ ("TYPE" | "HELP")), Some(family), Some(rest))
                    if is_counter(family) =>
                {
                    text.extend(["# ", keyword, " ", family, "_total ", rest]);
                }
                _ => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

fn gauged(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The families that have a `route` label.
struct Families {
    accepted: Family<Labels, Counter>,
    open: Family<Labels, Gauge>,
    closed: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    handshake: Family<Labels, Histogram, Buckets>,
    target_connect: Family<Labels, Histogram, Buckets>,
    duration: Family<Labels, Histogram, Buckets>,
    bytes: Family<Labels, Counter<u64, AtomicU64>>,
    accept_errors: Family<Labels, Counter>,
}

/// Upper bounds in seconds.
#[derive(Debug, Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        const HANDSHAKE: Buckets = Buckets(&[
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
        ]);
        const CONNECT: Buckets = Buckets(&[
            0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
        ]);
        const CONNECTION: Buckets = Buckets(&[
            0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
        ]);
        let families = Self {
            accepted: Family::default(),
            open: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            handshake: Family::new_with_constructor(HANDSHAKE),
            target_connect: Family::new_with_constructor(CONNECT),
            duration: Family::new_with_constructor(CONNECTION),
            bytes: Family::default(),
            accept_errors: Family::default(),
        };
        registry.register(
            "connections_accepted",
            "Connections accepted",
            families.accepted.clone(),
        );
        registry.register(
            "connections_open",
            "Connections open, admitted or not",
            families.open.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections ended, by outcome",
            families.closed.clone(),
        );
        registry.register(
            "refusals",
            "Connections that were not admitted, by reason",
            families.refused.clone(),
        );
        registry.register(
            "handshake_duration_seconds",
            "From accept to the verdict about the client",
            families.handshake.clone(),
        );
        registry.register(
            "target_connect_duration_seconds",
            "Until the target accepted",
            families.target_connect.clone(),
        );
        registry.register(
            "connection_duration_seconds",
            "From accept to the end",
            families.duration.clone(),
        );
        registry.register("bytes", "Plaintext bytes relayed", families.bytes.clone());
        registry.register(
            "accept_errors",
            "Failed accepts, each followed by a pause",
            families.accept_errors.clone(),
        );
        families
    }

    fn route(&self, name: &Arc<str>, format: LogFormat) -> RouteMetrics {
        let route = vec![("route", name.to_string())];
        let with = |key: &'static str, value: &str| {
            let mut labels = route.clone();
            labels.push((key, value.to_owned()));
            labels
        };
        let closed = |outcome: &Outcome| {
            self.closed
                .get_or_create_owned(&with("outcome", outcome.as_str()))
        };
        let refused = |kind: &RefusalKind| {
            self.refused
                .get_or_create_owned(&with("reason", kind.as_str()))
        };
        RouteMetrics {
            name: Arc::clone(name),
            format,
            accepted: self.accepted.get_or_create_owned(&route),
            open: self.open.get_or_create_owned(&route),
            closed: Outcome::ALL.iter().map(closed).collect(),
            refused: RefusalKind::ALL.iter().map(refused).collect(),
            handshake: self.handshake.get_or_create_owned(&route),
            target_connect: self.target_connect.get_or_create_owned(&route),
            target: Seen::default(),
            duration: self.duration.get_or_create_owned(&route),
            to_target: self
                .bytes
                .get_or_create_owned(&with("direction", "to_target")),
            from_target: self
                .bytes
                .get_or_create_owned(&with("direction", "from_target")),
            accept_errors: self.accept_errors.get_or_create_owned(&route),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_before_anything_happened() {
        let metrics = Metrics::new([&Arc::from("default")], LogFormat::Json);
        let text = metrics.prometheus_text();
        for outcome in Outcome::ALL {
            let series = format!(
                "portcullis_connections_closed_total{{route=\"default\",outcome=\"{}\"}} 0\n",
                outcome.as_str()
            );
            assert!(text.contains(&series), "{series} is missing from\n{text}");
        }
        for kind in RefusalKind::ALL {
            let reason = kind.as_str();
            let series =
                format!("portcullis_refusals_total{{route=\"default\",reason=\"{reason}\"}} 0\n");
            assert!(text.contains(&series), "{series} is missing from\n{text}");
        }
        assert!(text.contains("# TYPE portcullis_connections_closed_total counter\n"));
        assert!(text.contains("\nprocess_cpu_seconds_total "));
        assert!(!text.contains("# EOF"));
        assert!(metrics.open_metrics().ends_with("# EOF\n"));
    }
}
