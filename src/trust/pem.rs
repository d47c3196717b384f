//! PEM in, DER out.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};

use super::load::Content;
use crate::config::Problem;

pub(crate) fn certificates(file: &Content) -> Result<Vec<CertificateDer<'static>>, Problem> {
    CertificateDer::pem_slice_iter(&file.bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            file.problem(format!(
                "{}; it must hold PEM certificates",
                pem_reason(&error)
            ))
        })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the error is open-ended; the rest keeps its own words"
)]
pub(super) fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a PEM block has no end; the file may be cut short".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => "a PEM block begins in a broken way".to_owned(),
        pem::Error::Base64Decode(_) => "a PEM block holds bad base64".to_owned(),
        other => other.to_string(),
    }
}
