//! Lasting states as gauges: what holds now, whether or not anybody read the log when it came.
//!
//! Comes in: what the gate was started with, what it loaded and what it follows. Goes out: a series each, from the
//! start. What depends on the time is judged when it is asked for. Never counts events; `metrics` does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use rustls::pki_types::UnixTime;

use super::Metrics;
use super::process::gauge;
use crate::identity::Validity;

type Labels = Vec<(&'static str, String)>;

/// The gauges.
#[derive(Debug)]
pub(super) struct States {
    pub(super) restart_needed: Gauge,
    pub(super) reload_failing: Gauge,
    pub(super) watching: Gauge,
    pub(super) left_out: Gauge,
    pub(super) limits_lowered: Gauge,
    pub(super) unsafe_settings: Gauge,
    /// In the order of the routes.
    pub(super) target_exposed: Vec<Gauge>,
    pub(super) lists: Arc<Lists>,
    pub(super) trust: Arc<TrustInfo>,
}

impl States {
    pub(super) fn register<'a>(
        registry: &mut Registry,
        routes: impl Iterator<Item = &'a Arc<str>>,
    ) -> Self {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let mut states = Self {
            restart_needed: gauge(
                "restart_needed",
                "1 if the configuration file holds changes that wait for a restart",
            ),
            reload_failing: gauge(
                "reload_failing",
                "1 if the files hold a set that is refused, so that an older one is in use",
            ),
            watching: gauge(
                "watching",
                "1 if the kernel reports changes of the files, 0 if they are only looked at every reload_interval",
            ),
            left_out: gauge(
                "client_ca_left_out",
                "How many certificates of the client-CA bundles cannot vouch for anybody",
            ),
            limits_lowered: gauge(
                "limits_lowered",
                "1 if the caps on connections are lower than configured, for want of descriptors",
            ),
            unsafe_settings: gauge(
                "unsafe_settings",
                "How many settings in force weaken the gate",
            ),
            target_exposed: Vec::new(),
            lists: Arc::default(),
            trust: Arc::default(),
        };
        let exposed = Family::<Labels, Gauge>::default();
        registry.register(
            "target_exposed",
            "1 if somebody listens on the target's port beyond loopback, so that it can be reached without the gate",
            exposed.clone(),
        );
        let of_route =
            |name: &Arc<str>| exposed.get_or_create_owned(&vec![("route", name.to_string())]);
        states.target_exposed = routes.map(of_route).collect();
        registry.register_collector(Box::new(Arc::clone(&states.lists)));
        registry.register_collector(Box::new(Arc::clone(&states.trust)));
        states
    }
}

impl Metrics {
    /// Says if changes of the configuration file wait for a restart.
    pub fn restart_needed(&self, needed: bool) {
        self.states.restart_needed.set(needed.into());
    }

    /// Says if the newest look at the files failed.
    pub fn reload_failing(&self, failing: bool) {
        self.states.reload_failing.set(failing.into());
    }

    /// Says if the kernel reports changes of the files.
    pub fn watching(&self, watching: bool) {
        self.states.watching.set(watching.into());
    }

    /// Says if the caps are lower than configured.
    pub fn limits_lowered(&self, lowered: bool) {
        self.states.limits_lowered.set(lowered.into());
    }

    /// Says of each route, in their order, if its target can be reached without the gate.
    pub fn targets_exposed(&self, exposed: impl IntoIterator<Item = bool>) {
        for (gauge, exposed) in self.states.target_exposed.iter().zip(exposed) {
            gauge.set(exposed.into());
        }
    }
}

/// The lives of the revocation lists.
#[derive(Debug, Default)]
pub(super) struct Lists(Mutex<Vec<Validity>>);

impl Lists {
    pub(super) fn set(&self, lives: Vec<Validity>) {
        *lock(&self.0) = lives;
    }
}

impl Collector for Lists {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lives = lock(&self.0);
        let now = UnixTime::now();
        let stale = lives.iter().filter(|life| life.not_after <= now).count();
        gauge(
            &mut encoder,
            "crl_stale",
            "How many revocation lists are past their nextUpdate",
            stale as f64,
        )?;
        // Without a list there is no such time: zero would read as long overdue.
        let Some(first) = lives.iter().min_by_key(|life| life.not_after) else {
            return Ok(());
        };
        gauge(
            &mut encoder,
            "crl_this_update_timestamp_seconds",
            "When the revocation list that should be replaced first was issued, in seconds since 1970",
            first.not_before.as_secs() as f64,
        )?;
        gauge(
            &mut encoder,
            "crl_next_update_timestamp_seconds",
            "When the first revocation list should be replaced, in seconds since 1970",
            first.not_after.as_secs() as f64,
        )
    }
}

/// Digests of what is in force, as labels: of all sets there ever were only the newest is shown.
#[derive(Debug, Default)]
pub(super) struct TrustInfo(Mutex<Labels>);

impl TrustInfo {
    pub(super) fn set(&self, digests: &[(&'static str, String)]) {
        *lock(&self.0) = digests.to_vec();
    }
}

impl Collector for TrustInfo {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let labels = lock(&self.0);
        let one = ConstGauge::new(1_i64);
        let mut family = encoder.encode_descriptor(
            "trust_info",
            "Digests of what is in force, the same on gates that have the same; always 1",
            None,
            one.metric_type(),
        )?;
        one.encode(family.encode_family(&*labels)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
