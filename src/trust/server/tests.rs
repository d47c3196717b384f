//! Chains of every shape, and what some clients dislike, on certificates made in memory.

mod remarks;
mod shapes;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use super::*;
use crate::config::Place;
use crate::trust::load::Content;
use crate::trust::tests::{Ca, DAY, Issued, ca_params, leaf_params};

/// What the file of these certificates makes of the gate as of now.
fn judge(certificates: &[&str], key: &str) -> Result<Server, String> {
    let content = |name: &str, text: &str| {
        let bytes = Zeroizing::new(text.as_bytes().to_vec());
        Content::new(Place::Flag("--file"), name.into(), bytes)
    };
    let files = Files {
        cert: content("crt", &certificates.concat()),
        key: content("key", key),
        client_ca: Vec::new(),
        client_crl: Vec::new(),
        atomic: true,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    server(&files, UnixTime::since_unix_epoch(now)).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    })
}

fn warnings(server: &Server) -> Vec<String> {
    server.warnings.iter().map(ToString::to_string).collect()
}

/// Asserts that there is one warning, with all these parts.
fn warned(certificates: &[&str], key: &str, parts: &[&str]) {
    let warnings = warnings(&judge(certificates, key).unwrap());
    let [warning] = &*warnings else {
        panic!("one of {parts:?} in {warnings:#?}");
    };
    for part in parts {
        assert!(warning.contains(part), "{part:?} in {warning}");
    }
}

/// A CA for this key, below another one.
fn cross(params: CertificateParams, key: &str, above: &Ca) -> String {
    let key = KeyPair::from_pem(key).unwrap();
    params.signed_by(&key, &above.0).unwrap().pem()
}

/// Two roots, a CA below the first that issues, a CA below that one, and a leaf of each.
struct Scene {
    root: Ca,
    other: Ca,
    upper: Ca,
    lower: Ca,
    /// Issued by the lower.
    leaf: Issued,
}

impl Scene {
    fn new() -> Self {
        let root = Ca::new("root");
        let upper = root.below(ca_params("upper"));
        let lower = upper.below(ca_params("lower"));
        Self {
            leaf: lower.server(),
            other: Ca::new("other"),
            root,
            upper,
            lower,
        }
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn self_signed() -> Issued {
    let key = KeyPair::generate().unwrap();
    let params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
    let cert = params.self_signed(&key).unwrap();
    Issued {
        der: cert.der().clone(),
        cert: cert.pem(),
        key: key.serialize_pem(),
    }
}

#[test]
fn a_certificate_that_is_not_good_now_is_refused() {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    for (from, to, why) in [
        (now - 2 * hour, now - hour, "expired at"),
        (now + hour, now + 2 * hour, "not valid before"),
    ] {
        let mut params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
        (params.not_before, params.not_after) = (from.into(), to.into());
        let issued = Ca::new("servers").issue(&params);
        let problem = judge(&[&issued.cert], &issued.key).map(|_| ()).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
}

#[test]
fn a_time_and_a_key_that_are_wrong_are_told_at_once() {
    let now = SystemTime::now();
    let mut params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
    (params.not_before, params.not_after) = ((now - 3 * DAY).into(), (now - DAY).into());
    let ca = Ca::new("servers");
    let (expired, other) = (ca.issue(&params), ca.server());
    let problems = judge(&[&expired.cert], &other.key).map(|_| ()).unwrap_err();
    assert!(problems.contains("does not belong"), "{problems}");
    assert!(problems.contains("expired at"), "{problems}");
}

proptest! {
    #[test]
    fn a_chain_of_which_a_byte_is_wrong_is_judged_without_a_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        which in 0..2_usize,
    ) {
        use base64::Engine as _;
        let Scene { lower, upper, leaf, .. } = Scene::new();
        let mut chain = [leaf.der.to_vec(), lower.0.der().to_vec(), upper.0.der().to_vec()];
        let at = at.index(chain[which + 1].len());
        chain[which + 1][at] = byte;
        let pem = chain.map(|der| {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        });
        // Refused, or sent with a warning: a panic would be worse.
        match judge(&[&pem[0], &pem[1], &pem[2]], &leaf.key) {
            Ok(server) => prop_assert_eq!(server.shown.held, 3),
            Err(problem) => prop_assert!(
                problem.contains("certificate ") || problem.contains("CERTIFICATE"),
                "{problem}"
            ),
        }
    }
}
