//! The certificates that the gate sends in, what some clients will dislike about them out.
//!
//! Its own file because none of it keeps the gate from serving: who scrapes with Prometheus may never notice what
//! stops curl. Which client minds what was tried with Go, OpenSSL, GnuTLS, Java and rustls.

use rustls::pki_types::{DnsName, UnixTime};
use x509_parser::extensions::GeneralName;

use super::line::Placed;
use crate::identity::{Validity, general_name, rfc3339};
use crate::trust::own::Certificate;

/// What clients dislike, one sentence each.
pub(super) fn remarks(sent: &[Placed<'_>], now: UnixTime) -> Vec<String> {
    let Some((leaf, cas)) = sent.split_first() else {
        return Vec::new();
    };
    let end = Validity::of(&leaf.certificate.parsed).not_after;
    let mut remarks: Vec<String> = [names, usage, key_usage, ca, rustls]
        .iter()
        .filter_map(|look| look(leaf.certificate))
        .map(|what| format!("the certificate {what}"))
        .collect();
    // A root is the client's own business.
    let cas = cas.iter().filter(|ca| !ca.issued_itself());
    remarks.extend(cas.clone().filter_map(|ca| {
        let what = time(ca.certificate, end, now).or_else(|| issuer(ca.certificate))?;
        Some(format!("{ca} {what}"))
    }));
    // Nobody checks the signature that a certificate has by its own key.
    let signed = [leaf].into_iter().filter(|it| !it.issued_itself());
    remarks.extend(signed.chain(cas).filter_map(|it| {
        let weak = it.certificate.weak_signature()?;
        Some(format!(
            "{it} is signed with {weak}, which clients do not accept; have it issued with SHA-256"
        ))
    }));
    remarks
}

/// RFC 9525: a client looks for the name that it asked for among these, and nowhere else.
fn names(leaf: &Certificate<'_>) -> Option<String> {
    let names = leaf.parsed.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let mut shown: Vec<String> = names.iter().take(4).map(general_name).collect();
    if names.len() > shown.len() {
        shown.push("…".to_owned());
    }
    match names {
        [] => Some(
            "has no subject alternative name, and Prometheus and browsers look at nothing else; have it issued with one"
                .to_owned(),
        ),
        names if names.iter().any(can_be_asked_for) => None,
        _ => Some(format!(
            "has no name that a client can ask for: {} is no host name and no IP address; have it issued with one",
            shown.join(", ")
        )),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no client asks for a name of another kind"
)]
fn can_be_asked_for(name: &GeneralName<'_>) -> bool {
    match name {
        GeneralName::DNSName(name) => {
            DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok()
        }
        GeneralName::IPAddress(octets) => matches!(octets.len(), 4 | 16),
        _ => false,
    }
}

fn usage(leaf: &Certificate<'_>) -> Option<String> {
    let usage = leaf.parsed.extended_key_usage().ok()??.value;
    if usage.server_auth {
        return None;
    }
    Some(if usage.any {
        "lists anyExtendedKeyUsage in place of serverAuth, and OpenSSL (curl) and rustls clients refuse that; have it \
         issued with serverAuth"
            .to_owned()
    } else {
        "does not list serverAuth in its extended key usage, and clients refuse that; have it issued with serverAuth"
            .to_owned()
    })
}

fn key_usage(leaf: &Certificate<'_>) -> Option<String> {
    let usage = leaf.parsed.key_usage().ok()??.value;
    (!usage.digital_signature()).then(|| {
        "does not list digitalSignature in its key usage, and GnuTLS and Java clients, and TLS 1.2 clients of OpenSSL, \
         refuse that; have it issued with digitalSignature"
            .to_owned()
    })
}

fn ca(leaf: &Certificate<'_>) -> Option<String> {
    leaf.parsed.is_ca().then(|| {
        "is that of a CA (`openssl req -x509` makes such): Prometheus and curl take it, rustls clients (`portcullis \
         scrape` is one) refuse it; have one issued for the gate"
            .to_owned()
    })
}

fn rustls(leaf: &Certificate<'_>) -> Option<String> {
    (!leaf.is_read_by_rustls()).then(|| {
        "has parts that rustls clients (`portcullis scrape` is one) do not know and so refuse; Prometheus and curl take \
         it"
        .to_owned()
    })
}

fn time(ca: &Certificate<'_>, end: UnixTime, now: UnixTime) -> Option<String> {
    let Validity {
        not_before,
        not_after,
    } = Validity::of(&ca.parsed);
    if not_after < now {
        let since = rfc3339(not_after);
        return Some(format!(
            "expired at {since}, and clients refuse what it issued; put the renewed one there"
        ));
    }
    if now < not_before {
        let from = rfc3339(not_before);
        return Some(format!(
            "is not valid before {from}, and clients refuse what it issued; check this machine's clock"
        ));
    }
    (not_after < end).then(|| {
        let (until, end) = (rfc3339(not_after), rfc3339(end));
        format!(
            "expires at {until}, before the certificate that it vouches for ({end}), and clients refuse both from then \
             on; renew it in time"
        )
    })
}

fn issuer(ca: &Certificate<'_>) -> Option<String> {
    if let Some(fault) = ca.fault() {
        return Some(fault.to_string());
    }
    (!ca.parsed.is_ca()).then(|| {
        "is no CA (no basicConstraints with cA), and clients refuse what it issued; have the chain issued by one"
            .to_owned()
    })
}
