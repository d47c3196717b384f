//! What a gate is and does now, as JSON: `/status` and `/sessions`. Looks, and judges nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Admin, time};
use crate::identity::rfc3339;
use crate::lifecycle::Phase;
use crate::trust::{CrlFacts, Facts};

impl Admin {
    pub(super) fn status(&self) -> Value {
        let generation = Arc::clone(&self.generations.borrow());
        let failure = self
            .last_reload
            .failure()
            .map(|failure| json!({ "since": time(failure.since), "reason": failure.reason }));
        let routes = self.config.routes.iter().zip(&self.listening).enumerate().map(|(index, (route, listening))| {
                let trust = generation.route(index);
            json!({
                "name": &*route.name,
                "listen": listening.to_string(),
                "target": route.target.to_string(),
                "allow": trust.map(|trust| trust.allow.to_strings()),
                "allow_from": trust.map(|trust| trust.allow_from.iter().map(ToString::to_string).collect::<Vec<_>>()),
            })
        });
        let not_ready = self.not_ready();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "phase": self.phase(&not_ready),
            "not_ready": not_ready,
            "generation": generation.number,
            "since": time(generation.since),
            "last_failure": failure,
            "routes": routes.collect::<Vec<_>>(),
            "certificate": facts(&generation.server),
            "client_ca": generation.client_cas.iter().map(facts).collect::<Vec<_>>(),
            "client_crl": generation.crls.iter().map(crl_facts).collect::<Vec<_>>(),
            "unsafe_settings": self.config.unsafe_settings(),
        })
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
        "not_before": rfc3339(facts.validity.not_before),
        "not_after": rfc3339(facts.validity.not_after),
        "file": facts.path.display().to_string(),
    })
}

fn crl_facts(facts: &CrlFacts) -> Value {
    json!({
        "issuer": facts.issuer,
        "entries": facts.entries,
        "this_update": rfc3339(facts.this_update),
        "next_update": rfc3339(facts.next_update),
        "file": facts.path.display().to_string(),
    })
}
