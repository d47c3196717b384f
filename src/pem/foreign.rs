//! What is no PEM at all: other forms that certificates and keys come in, each with the way out of it.

use super::body::{Shape, is_digit, shape};

/// As long as a line of base64 in a block is at least, but for the last.
const LONG: usize = 48;

/// What a file is that has no PEM block, if that can be seen by how it begins.
pub(super) fn kind(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'-', 0, b'-', ..] | [b'-', 0, b'-', 0, ..] => {
            "UTF-16 text; write it as ASCII or UTF-8 (iconv -f UTF-16 -t UTF-8 OLD > NEW)"
        }
        [0x30, 0x80..=0x84, ..] => {
            "begins as DER does, but is not one whole value: it was cut or something was added, or it is PKCS#12 in an \
             old form; make the file again, as PEM"
        }
        [0xfe, 0xed, 0xfe, 0xed, ..] => {
            "a Java key store; take the certificates out of it (keytool -exportcert -rfc)"
        }
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] => "compressed; unpack it",
        _ => return None,
    })
}

/// What a text without a PEM block is, if that can be seen by how it begins.
pub(super) fn text(bytes: &[u8]) -> Option<&'static str> {
    match bytes.trim_ascii_start() {
        [] => Some("the file is empty"),
        [b'<', ..] => Some(
            "a web page, like a server's error message, or XML, and no PEM; fetch the file again and look at what comes",
        ),
        _ => None,
    }
}

/// What a file is that is one DER value, and how it becomes PEM.
pub(super) fn der(bytes: &[u8]) -> &'static str {
    match shape(bytes) {
        Shape::Pkcs12 => {
            "PKCS#12 (.p12, .pfx), not PEM; take certificates and key out of it (openssl pkcs12 -in OLD -nodes -out NEW)"
        }
        Shape::Pkcs7 => {
            "PKCS#7 (.p7b), not PEM; take the certificates out of it (openssl pkcs7 -inform DER -print_certs -in OLD \
             -out NEW)"
        }
        Shape::Pkcs8 | Shape::Pkcs1 | Shape::Sec1 => {
            "a private key in DER, not PEM; convert it (openssl pkey -inform DER -in OLD -out NEW)"
        }
        Shape::Signed | Shape::Other => {
            "DER, not PEM; convert it (a certificate: openssl x509 -inform DER -in OLD -out NEW)"
        }
    }
}

/// What is wrong with a line outside of blocks, if it can be no text around them. `last` is true for a last line that
/// nothing ended.
pub(super) fn stray(line: &[u8], last: bool) -> Option<&'static str> {
    /// `-----BEGIN` and the space after it, in base64.
    const TWICE: &[u8] = b"LS0tLS1CRUdJTi";
    let text = line.trim_ascii();
    if line.contains(&0) {
        return Some("NUL bytes, which no text has; the file is damaged: put it there again");
    }
    if text.windows(TWICE.len()).any(|part| part == TWICE) {
        return Some(
            "a PEM file in base64, as in `data` of a Kubernetes Secret; decode it (base64 -d < OLD > NEW)",
        );
    }
    if text.starts_with(b"MI") && text.len() >= LONG && text.iter().all(|byte| is_digit(*byte)) {
        return Some(
            "base64 that stands in no block; put its `-----BEGIN …-----` and `-----END …-----` lines there",
        );
    }
    if last && !text.is_empty() && b"-----BEGIN ".starts_with(line) {
        return Some("the file ends where a block begins; put the whole file there again");
    }
    None
}
