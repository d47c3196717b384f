//! What a gate is and does now, as JSON: `/status` and `/sessions`. Looks, and judges nothing.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use super::verdict::verdict;
use super::{Admin, time};
use crate::config::{Limits, Waiting};
use crate::identity::rfc3339;
use crate::lifecycle::Phase;
use crate::telemetry::LastSeen;
use crate::trust::{CrlFacts, Facts, Generation, RouteTrust};

impl Admin {
    pub(super) fn status(&self) -> String {
        let generation = Arc::clone(&self.generations.borrow());
        let not_ready = self.not_ready();
        let failure = self.last_reload.failure();
        let last_failure = failure
            .as_ref()
            .map(|failure| json!({ "since": time(failure.since), "reason": failure.reason }));
        let last_reload = match &failure {
            Some(failure) => json!({
                "result": "failure", "at": time(failure.since), "reason": failure.reason,
            }),
            None => json!({ "result": "success", "at": time(generation.since) }),
        };
        let now = UnixTime::now();
        let counting: Vec<_> = generation
            .counting_lists(now)
            .map(std::ptr::from_ref)
            .collect();
        let lists = generation.crls.iter().map(|list| {
            let counts = counting.contains(&std::ptr::from_ref(list));
            crl_facts(list, counts, now)
        });
        let digests = generation.digests();
        let nobody = generation.refuses_everybody(now);
        let verdict = verdict(&not_ready, nobody.as_ref(), failure.as_ref());
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": self.phase(&not_ready),
            "not_ready": not_ready,
            "generation": generation.number,
            "since": time(generation.since),
            "last_reload": last_reload,
            "last_failure": last_failure,
            "restart_needed": self.last_reload.waiting().iter().map(waiting).collect::<Vec<_>>(),
            "unsafe_settings": generation.unsafe_settings,
            "limits": limits(&self.limits, &self.config.limits),
            "routes": self.routes(&generation),
            "certificate": facts(&generation.server),
            "client_ca": generation.vouching_cas(now).map(|ca| facts(&ca.facts)).collect::<Vec<_>>(),
            "client_ca_left_out": generation.left_out(now),
            "client_crl": lists.collect::<Vec<_>>(),
            "trust_info": {
                "server": digests.server,
                "client_ca": digests.client_ca,
                "client_crl": digests.client_crl,
                "rules": digests.rules,
            },
        });
        // The fields are sorted, and this one is to be read first.
        let verdict = format!("{{\n  \"verdict\": {},", Value::from(verdict));
        format!("{status:#}\n").replacen('{', &verdict, 1)
    }

    fn routes(&self, generation: &Generation) -> Value {
        let places = self.listening.iter().zip(self.metrics.routes());
        let routes = self.config.routes.iter().zip(places).enumerate();
        let routes = routes.map(|(index, (route, (listening, metrics)))| {
            let trust = generation.route(index);
            let LastSeen { reached, failure } = metrics.target_seen();
            let networks = |trust: &RouteTrust| {
                trust
                    .allow_from
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            };
            json!({
                "name": &*route.name,
                "listen": listening.to_string(),
                "target": route.target.to_string(),
                "target_last_reached": reached.map(time),
                "target_last_failure": failure.map(|(at, reason)| json!({ "at": time(at), "reason": reason })),
                "target_exposed_by": self.exposed.route(index).map(|by| by.to_string()),
                "allow": trust.map(|trust| trust.allow.to_strings()),
                "allow_from": trust.map(networks),
            })
        });
        Value::Array(routes.collect())
    }

    /// A gate that no client takes for what it is does not serve.
    fn phase(&self, not_ready: &[String]) -> &'static str {
        match self.lifecycle.phase() {
            Phase::Starting => "starting",
            Phase::Serving if not_ready.is_empty() => "serving",
            Phase::Serving => "not_ready",
            Phase::Draining => "draining",
            Phase::Forced => "forced",
            Phase::Stopped => "stopped",
        }
    }

    pub(super) fn session_list(&self) -> Value {
        let sessions = self.sessions.snapshot();
        let sessions = sessions.iter().map(|session| {
            let (to_target, from_target) = session.traffic.totals();
            json!({
                "route": &*session.route,
                "source": session.source.to_string(),
                "names": session.client.display_names(),
                "serial": session.client.serial(),
                "rule": session.admission.to_string(),
                "tls_version": session.tls_version,
                "since": time(session.since),
                "bytes_to_target": to_target,
                "bytes_from_target": from_target,
                "unanswered_ms": session.traffic.unanswered().map(|wait| wait.as_millis()),
            })
        });
        Value::Array(sessions.collect())
    }
}

fn facts(facts: &Facts) -> Value {
    json!({
        "subject": facts.subject,
        "names": facts.names,
        "serial": facts.serial,
        "fingerprint": facts.fingerprint,
        "not_before": rfc3339(facts.validity.not_before),
        "not_after": rfc3339(facts.validity.not_after),
        "file": facts.path.display().to_string(),
    })
}

fn crl_facts(facts: &CrlFacts, counts: bool, now: UnixTime) -> Value {
    json!({
        "issuer": facts.issuer,
        "number": facts.number,
        "fingerprint": facts.fingerprint,
        "entries": facts.entries,
        "this_update": rfc3339(facts.life.not_before),
        "next_update": rfc3339(facts.life.not_after),
        "counts": counts,
        "stale": facts.life.not_after <= now,
        "file": facts.path.display().to_string(),
    })
}

fn waiting(waiting: &Waiting) -> Value {
    json!({
        "setting": waiting.setting,
        "running": waiting.running,
        "configured": waiting.configured,
    })
}

fn limits(held: &Limits, asked: &Limits) -> Value {
    json!({
        "max_connections": held.connections.get(),
        "max_handshakes": held.handshakes.get(),
        "lowered": held != asked,
    })
}
