//! What a refused client's certificate claims, for whoever has to help that client.
//!
//! Its own file because nobody vouches for any of it: the client has proved the key, and may have made up the rest. So it is
//! bounded before it is read, escaped, and never used for anything but a record.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::bundle::display_name;
use super::certificate::{Certificate, oid};
use super::der::{self, Reader};
use crate::identity::general_name;

/// The most bytes of all together, as JSON writes them.
const BYTES: usize = 512;
/// The most that the subject and the issuer may have each.
const NAME_BYTES: usize = 128;
/// The most that the serial number may have; RFC 5280 lets it have 20 bytes.
const SERIAL_BYTES: usize = 64;
/// A longer alternative name is not read.
const MOST_NAME_DER: usize = 1024;
/// Stands for what is left out.
const MORE: &str = "…";
/// How many alternative names are read at most.
const NAMES: usize = 8;

/// Subject, issuer, serial number and names, as `subject:…`, `issuer:…`, `serial:…`, `dns:…`; 512 bytes at most as JSON
/// writes them. What is cut ends in `…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented(Vec<String>);

impl Presented {
    /// Reads what there is to read.
    pub(super) fn of(der: &[u8]) -> Self {
        let Some(certificate) = Certificate::skim(der) else {
            return Self(Vec::new());
        };
        let subject = format!("subject:{}", display_name(certificate.subject));
        let issuer = format!("issuer:{}", display_name(certificate.issuer));
        // The brackets of the list, and a mark behind it if there is more.
        let mut room = BYTES - 2 - MORE.len() - 3;
        let mut claims = Vec::new();
        let mut claim = |text: &str, most: usize| {
            let (text, bytes) = cut(text, most.min(room.saturating_sub(3)));
            let fits = !text.is_empty();
            if fits {
                // Two quotes and a comma.
                room -= bytes + 3;
                claims.push(text);
            }
            fits
        };
        claim(&subject, NAME_BYTES);
        claim(&issuer, NAME_BYTES);
        claim(&serial(certificate.serial), SERIAL_BYTES);
        for name in alternative_names(&certificate) {
            if !claim(&name, BYTES) {
                claims.push(MORE.to_owned());
                break;
            }
        }
        Self(claims)
    }

    /// A claim each.
    pub fn claims(&self) -> &[String] {
        &self.0
    }
}

/// At most so many bytes as JSON writes them, which puts a backslash before two characters, and how many they are.
/// Nothing if there is no room for a beginning.
fn cut(text: &str, most: usize) -> (String, usize) {
    let cost = |c: char| c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
    let whole = text.chars().map(cost).sum();
    if whole <= most {
        return (text.to_owned(), whole);
    }
    let room = most.saturating_sub(MORE.len());
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += cost(*c);
        bytes <= room
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    if shown.is_empty() {
        return (shown, 0);
    }
    shown.push_str(MORE);
    let bytes = shown.chars().map(cost).sum();
    (shown, bytes)
}

fn serial(content: &[u8]) -> String {
    let content = content.get(..SERIAL_BYTES).unwrap_or(content);
    let digits = content.iter().map(|byte| format!("{byte:02x}"));
    format!("serial:{}", digits.collect::<String>())
}

fn alternative_names(certificate: &Certificate<'_>) -> Vec<String> {
    let names = certificate.extension(oid::SUBJECT_ALT_NAME);
    let Some(mut names) = names.and_then(|value| der::only(value, der::SEQUENCE)) else {
        return Vec::new();
    };
    let mut next = || next_name(&mut names);
    let mut shown: Vec<_> = std::iter::from_fn(&mut next).take(NAMES).collect();
    if !names.is_empty() {
        shown.push(MORE.to_owned());
    }
    shown
}

fn next_name(names: &mut Reader<'_>) -> Option<String> {
    let name = names.any()?.whole;
    if name.len() > MOST_NAME_DER {
        return Some(format!("(a name of {} bytes)", name.len()));
    }
    let (_, name) = GeneralName::from_der(name).ok()?;
    Some(general_name(&name))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn presented(params: &CertificateParams) -> Vec<String> {
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Presented::of(certificate.der()).0
    }

    #[test]
    fn it_says_what_the_certificate_says() {
        let mut params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "somebody");
        params.serial_number = Some(vec![0x0a, 0xff].into());
        let expected = [
            "subject:CN=somebody",
            "issuer:CN=somebody",
            "serial:0aff",
            "dns:a.test",
        ];
        assert_eq!(presented(&params), expected);
    }

    #[test]
    fn whatever_it_says_is_bounded_and_escaped() {
        for text in ["\"\\", "\n\u{202e}", "ü", "x"] {
            for length in [1, 60, 130, 300, 5_000] {
                let text = text.repeat(length);
                let mut params = CertificateParams::default();
                params.distinguished_name.push(DnType::CommonName, &*text);
                let uri = format!("https://t/{}", "\"\\\n".repeat(length));
                let uri = SanType::URI(uri.try_into().unwrap());
                params.subject_alt_names = vec![uri; 20];
                let claims = presented(&params);
                let json = serde_json::to_string(&claims).unwrap();
                assert!(json.len() <= BYTES, "{}: {json}", json.len());
                assert!(claims.len() >= 3, "{json}");
                let hidden = ['\n', '\u{202e}'];
                assert!(claims.iter().all(|claim| !claim.contains(hidden)), "{json}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_claim_nothing() {
        assert_eq!(Presented::of(b"\x30\x03\x02\x01\x01").claims().len(), 0);
    }
}
