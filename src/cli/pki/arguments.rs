//! One word of the command line in, the same word or what is wrong with it out.
//!
//! Its own file so that a name is refused while the parser still knows which flag it stood in. Does no IO.

use clap::builder::RangedI64ValueParser;
use rustls::pki_types::DnsName;

/// The names that folders of certificates cannot have: other files of the PKI have them.
const TAKEN: [&str; 4] = ["ca.crt", "ca.key", "ca.crl", "README.md"];
/// The longest common name or organizational unit (RFC 5280 appendix A.1, ub-common-name).
const SUBJECT_CHARS: usize = 64;

/// A century at most: dates stay within what certificates can say.
pub(super) fn days() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

/// A NAME: one plain folder name.
pub(super) fn folder_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(plain) {
        return Err(
            "not a folder name; begin with a letter or digit, go on with those and `.`, `_`, `-`"
                .to_owned(),
        );
    }
    if text.contains("..") {
        return Err("`..` leads elsewhere; name a folder below DIR".to_owned());
    }
    if TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(text)) {
        return Err("a file of the PKI itself; choose another name".to_owned());
    }
    if text.len() > 253 {
        return Err("longer than 253 bytes; choose a shorter name".to_owned());
    }
    Ok(text.to_owned())
}

/// A DNS name, whose first label may be `*`.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    match DnsName::try_from(text.strip_prefix("*.").unwrap_or(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("not a DNS name; write it like prometheus.monitoring.svc".to_owned()),
    }
}

/// A URI: any that a certificate can hold, odd ones too, since rules must be tried against those.
pub(super) fn uri(text: &str) -> Result<String, String> {
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("a URI is ASCII without spaces; percent-encode the rest".to_owned());
    }
    match text.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !rest.is_empty() =>
        {
            Ok(text.to_owned())
        }
        _ => Err("not a URI; write it like spiffe://cluster.local/ns/monitoring".to_owned()),
    }
}

/// A value of the subject.
pub(super) fn subject_text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("empty or not printable; write a name".to_owned());
    }
    if text.chars().count() > SUBJECT_CHARS {
        return Err(format!(
            "longer than {SUBJECT_CHARS} characters; give a shorter one"
        ));
    }
    Ok(text.to_owned())
}
