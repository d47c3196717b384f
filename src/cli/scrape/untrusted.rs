//! Our own verdict on a server's certificate: rustls' error in, what is wrong and what to do out.
//!
//! Its own file because one row says both, so that they cannot part. What rustls may add one day has the last row.

use rustls::{CertificateError, OtherError};

use crate::identity::{printable, rfc3339};

/// What is wrong with the certificate, as the end of "the server's certificate is not accepted: ".
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest has nothing of its own to show"
)]
pub(super) fn what(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = printable(&expected.to_str());
            format!("it is not for {expected:?}, it is for {}", names(presented))
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("it, or a CA above it, expired at {}", rfc3339(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!(
                "it, or a CA above it, is not valid before {}",
                rfc3339(*not_before)
            )
        }
        error => row(error).0.to_owned(),
    }
}

/// What it usually means, and what to do.
pub(super) fn meaning(error: &CertificateError) -> &'static str {
    row(error).1
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls' enumeration is open-ended"
)]
fn row(error: &CertificateError) -> (&'static str, &'static str) {
    match error {
        CertificateError::UnknownIssuer => (
            "no CA of --ca vouches for it",
            "The server's certificate does not chain to a CA of --ca. Give the CA that issued it; after a new CA was \
             made, issue the server's certificate again.",
        ),
        CertificateError::BadSignature => (
            "a signature in its chain is wrong",
            "The server's certificate was signed by a CA of the same name as one of --ca but with another key, as \
             after making the CA again. Issue it again, or give the other CA.",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "it is for another name",
            "The certificate is for another name than the URL's host. If this is the right server, say with \
             --server-name which of its names to expect; an IP address must be in the certificate as one.",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            "it, or a CA above it, has expired",
            "The server's certificate (or a CA above it) has expired. Renew it; if its dates look right, compare the \
             clocks.",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            "it, or a CA above it, is not valid yet",
            "The server's certificate is not valid yet. Compare the clocks.",
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "its extended key usage does not list serverAuth",
            "The server presents a certificate that is not for TLS servers: serverAuth is not in its extended key \
             usage. Issue it as a server's.",
        ),
        CertificateError::UnhandledCriticalExtension => (
            "it, or a CA above it, has a critical extension that is not known here",
            "Whoever does not know a critical extension must refuse it. Issue the certificate without it, or try with \
             curl.",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "it, or a CA above it, is signed with an algorithm that TLS has no use for here",
            "Usually the CA signs with SHA-1, or with a key on an unusual curve. Prometheus and curl do not take that \
             either. Issue it again with SHA-256.",
        ),
        CertificateError::BadEncoding => (
            "it cannot be read",
            "The server's certificate is damaged, or one of its chain is. Put it there anew.",
        ),
        CertificateError::Other(error) => of_webpki(error),
        _ => OTHER,
    }
}

const OTHER: (&str, &str) = (
    "it, or a CA above it, breaks a rule that has no name here",
    "The server's certificate cannot be used. Look at it with `openssl s_client -connect HOST:PORT -showcerts`.",
);

/// rustls hands on what it has no word for.
fn of_webpki(error: &OtherError) -> (&'static str, &'static str) {
    match error.0.downcast_ref::<webpki::Error>() {
        Some(webpki::Error::CaUsedAsEndEntity) => (
            "it is that of a CA",
            "A CA's certificate is no server's (`openssl req -x509` makes such). Prometheus and curl take it, this \
             command does not. Issue one for the server.",
        ),
        Some(webpki::Error::UnsupportedCertVersion) => (
            "it is not X.509 version 3",
            "Older versions have no place for the names that clients look for. Issue it as version 3; `openssl x509 \
             -req` makes that of it with -extfile.",
        ),
        Some(webpki::Error::NameConstraintViolation) => (
            "a name of it lies outside the name constraints of its CA",
            "The CA may issue certain names only. Issue it with such names, or from another CA.",
        ),
        Some(webpki::Error::EndEntityUsedAsCa) => (
            "what stands above it is no CA",
            "A certificate without the CA bit cannot issue others. Have it issued by a CA.",
        ),
        Some(webpki::Error::PathLenConstraintViolated) => (
            "a CA above it may not have so many CAs below it",
            "The path length of a CA above it (pathLenConstraint) is exceeded. Issue it from a CA further up.",
        ),
        _ => OTHER,
    }
}

/// Names as webpki writes them, `DnsName("a")` and `IpAddress(1.2.3.4)`, as people read them.
fn names(presented: &[String]) -> String {
    let shown = presented.iter().take(8).map(|name| {
        let (kind, value) = name.split_once('(').unwrap_or(("", name));
        let value = printable(value.trim_end_matches(')').trim_matches('"'));
        match kind {
            "DnsName" => format!("dns:{value}"),
            "IpAddress" => format!("ip:{value}"),
            "UniformResourceIdentifier" => format!("uri:{value}"),
            _ => "another kind of name".to_owned(),
        }
    });
    let mut shown: Vec<String> = shown.collect();
    match presented.len() - shown.len() {
        0 if shown.is_empty() => return "no name at all".to_owned(),
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn no_row_has_a_librarys_words_in_it() {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        let other = |error: webpki::Error| CertificateError::Other(OtherError(Arc::new(error)));
        let named = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("else.test").unwrap(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        let rows = [
            (
                named(&["DnsName(\"a.test\")", "IpAddress(127.0.0.1)"]),
                "it is not for \"else.test\", it is for dns:a.test, ip:127.0.0.1",
            ),
            (
                named(&[]),
                "it is not for \"else.test\", it is for no name at all",
            ),
            (named(&["DnsName(\"x\")"; 12]), "dns:x, 4 more"),
            (
                CertificateError::ExpiredContext {
                    time,
                    not_after: time,
                },
                "it, or a CA above it, expired at 2027-01-15T08:00:00Z",
            ),
            (
                CertificateError::UnknownIssuer,
                "no CA of --ca vouches for it",
            ),
            (
                other(webpki::Error::CaUsedAsEndEntity),
                "it is that of a CA",
            ),
            (
                other(webpki::Error::UnsupportedCertVersion),
                "it is not X.509 version 3",
            ),
            (
                other(webpki::Error::BadDer),
                "breaks a rule that has no name here",
            ),
            (
                CertificateError::Revoked,
                "breaks a rule that has no name here",
            ),
        ];
        for (error, said) in rows {
            let what = what(&error);
            assert!(what.contains(said), "{said}: {what}");
            assert!(meaning(&error).ends_with('.'), "{}", meaning(&error));
        }
    }
}
