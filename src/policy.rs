//! Who may pass: allow rules in, a verdict about one verified client out.
//!
//! [`judge`] is the only place where that question is answered. It is pure and total: the TLS verifier, the step
//! after the handshake, the live session and `portcullis explain` all call it and so cannot differ. This file never
//! does IO, never reads a clock and knows nothing of TLS.

mod patterns;
mod uri;

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use self::patterns::Patterns;
pub use self::uri::UriPattern;
use crate::identity::Client;

/// Decides whether a client whose certificate was verified may pass: the rule that admits it, or why none does.
///
/// Whether the certificate itself is good (chain, time, key usage, revocation) is judged before, in `trust`.
pub fn judge(allow: &Allow, client: &Client) -> Result<Admission, NotAdmitted> {
    match allow {
        Allow::AnyClient => Ok(Admission::AnyClient),
        Allow::Rules(rules) => rules
            .first_match(client)
            .map(Admission::Rule)
            .ok_or(NotAdmitted),
    }
}

/// What let a client in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// `--allow-any-client`.
    AnyClient,
    /// The first rule that matched, in the order dns, uri, cn, ou, spki.
    Rule(Rule),
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyClient => f.write_str("any-client"),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

/// The certificate is good, but no allow rule names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no allow rule names this client")]
pub struct NotAdmitted;

/// What an operator wrote to let clients in: never empty, or explicitly everyone the CA vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Every client that the CA vouches for (`--allow-any-client`).
    AnyClient,
    /// Clients that at least one of these names.
    Rules(Box<Rules>),
}

impl Allow {
    /// Builds the allow list, or `None` if there is not one rule: nothing may stand for "everyone" by being empty.
    pub fn rules(rules: impl IntoIterator<Item = Rule>) -> Option<Self> {
        let mut indexed = Rules::default();
        rules.into_iter().for_each(|rule| indexed.insert(rule));
        (!indexed.is_empty()).then(|| Self::Rules(Box::new(indexed)))
    }

    /// Every rule as records name it, sorted.
    pub fn to_strings(&self) -> Vec<String> {
        match self {
            Self::AnyClient => vec![Admission::AnyClient.to_string()],
            Self::Rules(rules) => rules.to_strings(),
        }
    }
}

/// Allow rules, arranged so that a verdict costs the same for one rule and for ten thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    dns: HashSet<String>,
    uri_exact: HashSet<String>,
    uri_patterns: Patterns,
    cn: HashSet<String>,
    ou: HashSet<String>,
    spki: HashSet<SpkiPin>,
}

impl Rules {
    fn insert(&mut self, rule: Rule) {
        // A rule written twice is one rule.
        let _new = match rule {
            Rule::Dns(name) => self.dns.insert(name),
            Rule::Uri(pattern) if pattern.is_exact() => self.uri_exact.insert(pattern.into_text()),
            Rule::Uri(pattern) => self.uri_patterns.insert(pattern),
            Rule::Cn(name) => self.cn.insert(name),
            Rule::Ou(name) => self.ou.insert(name),
            Rule::Spki(pin) => self.spki.insert(pin),
        };
    }

    /// How many distinct rules there are.
    pub fn len(&self) -> usize {
        self.dns.len()
            + self.uri_exact.len()
            + self.uri_patterns.len()
            + self.cn.len()
            + self.ou.len()
            + self.spki.len()
    }

    /// True if no rule is left; an [`Allow`] never holds such a set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn to_strings(&self) -> Vec<String> {
        let dns = self.dns.iter().cloned().map(Rule::Dns);
        let exact = self
            .uri_exact
            .iter()
            .map(|text| Rule::Uri(UriPattern::exact(text)));
        let patterns = self.uri_patterns.iter().cloned().map(Rule::Uri);
        let cn = self.cn.iter().cloned().map(Rule::Cn);
        let ou = self.ou.iter().cloned().map(Rule::Ou);
        let spki = self.spki.iter().copied().map(Rule::Spki);
        let all = dns
            .chain(exact)
            .chain(patterns)
            .chain(cn)
            .chain(ou)
            .chain(spki);
        let mut names: Vec<String> = all.map(|rule| rule.to_string()).collect();
        names.sort_unstable();
        names
    }

    fn first_match(&self, client: &Client) -> Option<Rule> {
        self.match_dns(client)
            .or_else(|| self.match_uri(client))
            .or_else(|| self.match_subject(client))
            .or_else(|| {
                self.spki
                    .get(&SpkiPin(client.spki_sha256()))
                    .map(|pin| Rule::Spki(*pin))
            })
    }

    fn match_dns(&self, client: &Client) -> Option<Rule> {
        if self.dns.is_empty() {
            return None;
        }
        client
            .dns_names()
            .iter()
            .find_map(|name| self.dns.get(&name.to_ascii_lowercase()))
            .cloned()
            .map(Rule::Dns)
    }

    fn match_uri(&self, client: &Client) -> Option<Rule> {
        // The X509-SVID specification allows exactly one URI SAN; a certificate with more names nobody in particular.
        let only_one = client.uris().len() == 1;
        client.uris().iter().find_map(|uri| {
            if uri::is_spiffe(uri) && !only_one {
                return None;
            }
            let exact = self.uri_exact.get(uri).map(|text| UriPattern::exact(text));
            exact
                .or_else(|| self.uri_patterns.find(&uri::Plain::parse(uri)?).cloned())
                .map(Rule::Uri)
        })
    }

    fn match_subject(&self, client: &Client) -> Option<Rule> {
        // A subject with several common names is ambiguous, so it meets no `cn` rule.
        let cn = client.only_common_name().and_then(|only| self.cn.get(only));
        cn.cloned().map(Rule::Cn).or_else(|| {
            client
                .organizational_units()
                .iter()
                .find_map(|ou| self.ou.get(ou))
                .cloned()
                .map(Rule::Ou)
        })
    }
}

/// One way to name a client. Rules are typed: each looks at its own kind of name and at no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// A DNS SAN, compared without regard to ASCII case; stored in lower case.
    Dns(String),
    /// A URI SAN.
    Uri(UriPattern),
    /// The subject's only common name, byte for byte.
    Cn(String),
    /// One of the subject's organizational units, byte for byte.
    Ou(String),
    /// The SHA-256 of the certificate's SubjectPublicKeyInfo.
    Spki(SpkiPin),
}

impl Rule {
    /// Parses an `--allow-dns` value: one exact DNS name.
    pub fn dns(text: &str) -> Result<Self, InvalidRule> {
        if text.contains('*') {
            return Err(InvalidRule(
                "a dns rule is exact, `*` is not; write each name out",
            ));
        }
        match rustls::pki_types::DnsName::try_from(text) {
            Ok(_) => Ok(Self::Dns(text.to_ascii_lowercase())),
            Err(_) => Err(InvalidRule(
                "not a DNS name; write it as in the certificate, like prometheus.monitoring.svc",
            )),
        }
    }

    /// Parses an `--allow-uri` value: see [`UriPattern`].
    pub fn uri(text: &str) -> Result<Self, InvalidRule> {
        UriPattern::parse(text).map(Self::Uri)
    }

    /// Parses an `--allow-cn` value.
    pub fn cn(text: &str) -> Result<Self, InvalidRule> {
        subject_text(text).map(Self::Cn)
    }

    /// Parses an `--allow-ou` value.
    pub fn ou(text: &str) -> Result<Self, InvalidRule> {
        subject_text(text).map(Self::Ou)
    }

    /// Parses an `--allow-spki` value: `sha256:` and 32 bytes in base64.
    pub fn spki(text: &str) -> Result<Self, InvalidRule> {
        SpkiPin::parse(text).map(Self::Spki)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(pattern) => write!(f, "uri:{pattern}"),
            Self::Cn(name) => write!(f, "cn:{name}"),
            Self::Ou(name) => write!(f, "ou:{name}"),
            Self::Spki(pin) => write!(f, "spki:{pin}"),
        }
    }
}

fn subject_text(text: &str) -> Result<String, InvalidRule> {
    if text.is_empty() {
        return Err(InvalidRule(
            "empty, and an empty name would name nobody; write the name out",
        ));
    }
    Ok(text.to_owned())
}

/// Why a rule was refused: what is wrong and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(&'static str);

/// The digest of a public key, as `sha256:BASE64` (RFC 7469 section 2.4 defines the same fingerprint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpkiPin([u8; 32]);

impl SpkiPin {
    fn parse(text: &str) -> Result<Self, InvalidRule> {
        const FORM: InvalidRule = InvalidRule(
            "not of the form sha256:BASE64 with 32 bytes; print one with `portcullis explain --client-cert FILE`",
        );
        let digits = text.strip_prefix("sha256:").ok_or(FORM)?;
        let bytes = BASE64.decode(digits).map_err(|_| FORM)?;
        bytes.try_into().map(Self).map_err(|_| FORM)
    }

    /// The pin of a key whose SubjectPublicKeyInfo has this SHA-256.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", BASE64.encode(self.0))
    }
}

#[cfg(test)]
mod tests;
