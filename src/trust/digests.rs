//! Short digests of what is in force, so that two gates, or a gate and the files it should have, can be compared.
//!
//! Its own file because operators compute the same by hand (docs/observability.md, "Which gates have taken a change
//! up"): each is the SHA-256 of sorted lines without duplicates, so neither the order of a bundle nor that of the rules
//! matters. Never sees a key.

use std::collections::BTreeSet;

use super::Generation;
use crate::config::{Config, StaleCrl};
use crate::crypto::{hex, sha256};

/// So many digits tell any two sets apart that a fleet ever has.
const DIGITS: usize = 12;

/// What `portcullis_trust_info` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// The gate's certificate and what it is sent with.
    pub server: String,
    /// The CAs that vouch for clients.
    pub client_ca: String,
    /// The revocation lists; `none` without any.
    pub client_crl: String,
    /// Who may pass.
    pub rules: String,
}

impl Generation {
    /// The digests of what this generation is made of.
    pub fn digests(&self) -> Digests {
        let server = self.presented.0.cert.iter().map(|der| fingerprint(der));
        let client_ca = self
            .client_cas
            .iter()
            .map(|ca| ca.facts.fingerprint.clone());
        let lists = self.crls.iter().map(|list| list.fingerprint.clone());
        Digests {
            server: of_lines(server),
            client_ca: of_lines(client_ca),
            client_crl: match self.crls.is_empty() {
                true => "none".to_owned(),
                false => of_lines(lists),
            },
            rules: self.rules.clone(),
        }
    }
}

/// What `openssl x509 -outform DER | sha256sum` says.
pub(super) fn fingerprint(der: &[u8]) -> String {
    hex(&sha256(der))
}

/// The digest of who may pass, and of the settings of `[tls]` that bind everybody.
pub(super) fn of_rules(config: &Config) -> String {
    of_lines(rule_lines(config).into_iter())
}

/// Who may pass and what binds everybody, a line each.
pub(super) fn rule_lines(config: &Config) -> BTreeSet<String> {
    let tls = &config.tls;
    let shared = [
        format!("tls_min {}", tls.min_version),
        match tls.stale_crl {
            StaleCrl::Refuse => "stale_crl refuse".to_owned(),
            StaleCrl::Accept => "stale_crl accept".to_owned(),
        },
        format!("allow_missing_eku {}", tls.allow_missing_eku),
    ];
    let routes = config.routes.iter().flat_map(|route| {
        let name = &route.name;
        let allow = route.allow.to_strings().into_iter();
        let allow = allow.map(move |rule| format!("{name} allow {rule}"));
        let from = route.allow_from.iter();
        allow.chain(from.map(move |network| format!("{name} from {network}")))
    });
    shared.into_iter().chain(routes).collect()
}

fn of_lines(lines: impl Iterator<Item = String>) -> String {
    let lines: BTreeSet<String> = lines.collect();
    let mut text = String::new();
    for line in &lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut digest = fingerprint(text.as_bytes());
    digest.truncate(DIGITS);
    digest
}
