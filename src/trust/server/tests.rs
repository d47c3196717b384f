//! Chains of every shape, and what some clients dislike, on certificates made in memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use super::*;
use crate::config::Place;
use crate::trust::tests::{Ca, DAY, Issued, ca_params, leaf_params};

/// What the file of these certificates makes of the gate as of now.
fn judge(certificates: &[&str], key: &str) -> Result<Server, String> {
    let content = |name: &str, text: &str| Content {
        place: Place::Flag("--file"),
        path: name.into(),
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
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

#[test]
fn every_shape_of_a_chain_is_sent_or_refused_as_it_deserves() {
    let Scene {
        root,
        other,
        upper,
        lower,
        leaf,
    } = Scene::new();
    let key_of = |ca: &Ca| ca.0.key().serialize_pem();
    let (root_pem, other, upper_pem, lower_pem) =
        (root.pem(), other.pem(), upper.pem(), lower.pem());
    let twin = cross(ca_params("lower"), &key_of(&lower), &Ca::new("second root"));
    let twin_of_upper = cross(ca_params("upper"), &key_of(&upper), &Ca::new("second root"));
    let namesake = upper.below(ca_params("lower")).pem();
    // Each certifies the other, as two roots that were bridged do.
    let bridged = cross(ca_params("root"), &key_of(&root), &upper);
    let own = self_signed();
    let (l, u, r, o) = (&*lower_pem, &*upper_pem, &*root_pem, &*other);
    let c = &*leaf.cert;
    // The file; what is sent of it, in this order; parts of the warnings, one each.
    let good: &[(&[&str], &[&str], &[&str])] = &[
        (&[c], &[c], &[]),
        (&[c, l], &[c, l], &[]),
        (&[c, l, u], &[c, l, u], &[]),
        (&[c, l, u, r], &[c, l, u, r], &[]),
        (
            &[c, l, l],
            &[c, l],
            &["certificate 3 is certificate 2 once more"],
        ),
        (
            &[c, c, l],
            &[c, l],
            &["certificate 2 is certificate 1 once more"],
        ),
        (
            &[c, u, l],
            &[c, u, l],
            &[
                "certificate 2 (\"CN=upper\") stands before certificate 3 (\"CN=lower\"), which it issued",
            ],
        ),
        (
            &[c, r, u, l],
            &[c, r, u, l],
            &[
                "certificate 3 (\"CN=upper\") stands",
                "certificate 2 (\"CN=root\") stands",
            ],
        ),
        (
            &[c, l, &twin],
            &[c, l, &twin],
            &["certificate 2 (\"CN=lower\") and certificate 3 both issued certificate 1"],
        ),
        (
            &[c, l, &twin, u],
            &[c, l, &twin, u],
            &["and certificate 3 both issued certificate 1"],
        ),
        (
            &[c, l, u, &twin_of_upper],
            &[c, l, u, &twin_of_upper],
            &["and certificate 4 both issued certificate 2"],
        ),
        (
            &[c, l, o],
            &[c, l],
            &[
                "it ends at certificate 2, issued by \"CN=upper\"): certificate 3 (\"CN=other\"); take out",
            ],
        ),
        (
            &[c, o, l],
            &[c, l],
            &["certificate 2 (\"CN=other\"); take out"],
        ),
        // The one between is missing.
        (
            &[c, l, r],
            &[c, l],
            &["certificate 3 (\"CN=root\"); take out what is not needed, or add"],
        ),
        // A CA was made again: of two of one name, one signed.
        (
            &[c, l, &namesake],
            &[c, l],
            &["certificate 3 (\"CN=lower\"); take out"],
        ),
        (
            &[c, &namesake, l],
            &[c, l],
            &["certificate 2 (\"CN=lower\"); take out"],
        ),
        (
            &[c, l, u, &bridged],
            &[c, l, u, &bridged],
            &["certificate 3 (\"CN=upper\") stands before certificate 4 (\"CN=root\")"],
        ),
        (
            &[&own.cert, o],
            &[&own.cert],
            &["certificate 2 (\"CN=other\")"],
        ),
    ];
    for (file, sent, said) in good {
        let key = if file[0] == own.cert {
            &own.key
        } else {
            &leaf.key
        };
        let server = judge(file, key).unwrap();
        let ders: Vec<_> = sent.iter().map(|pem| der(pem)).collect();
        assert_eq!(server.certified.cert, ders, "{said:?}");
        assert_eq!(
            (server.shown.sent, server.shown.held),
            (sent.len(), file.len())
        );
        let warnings = warnings(&server);
        assert_eq!(warnings.len(), said.len(), "{said:?} in {warnings:#?}");
        for (warning, part) in warnings.iter().zip(*said) {
            assert!(warning.contains(part), "{part:?} in {warning}");
            assert!(warning.starts_with("--file: \"crt\": "), "{warning}");
        }
    }
    let differently = {
        let mut params = ca_params("x");
        let name = DnValue::PrintableString("lower".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        cross(params, &key_of(&lower), &root)
    };
    let bad: &[(&[&str], &str)] = &[
        (
            &[c, o],
            "certificate 1 is issued by \"CN=lower\", and none of the other certificates is that CA's",
        ),
        // What comes next is there, the issuer itself is not.
        (
            &[c, u, r],
            "certificate 1 is issued by \"CN=lower\", and none of the other",
        ),
        (
            &[c, &namesake],
            "certificate 2 (\"CN=lower\") has the name of certificate 1's issuer and another key",
        ),
        (
            &[c, &differently],
            "certificate 2 (\"CN=lower\") signed certificate 1, but writes its name in other bytes",
        ),
        (
            &[l, c],
            "the key belongs to certificate 2, not to the first",
        ),
        (&[l, u], "the key does not belong to the first certificate"),
    ];
    for (file, why) in bad {
        let problem = judge(file, &leaf.key).map(|_| ()).unwrap_err();
        assert!(problem.contains(why), "{why:?} in {problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}

#[test]
fn many_that_do_not_belong_there_are_told_in_one_sentence() {
    let Scene { lower, leaf, .. } = Scene::new();
    let strays: Vec<String> = (0..40)
        .map(|n| Ca::new(&format!("stray {n}")).pem())
        .collect();
    let lower = lower.pem();
    let mut file = vec![&*leaf.cert, &*lower];
    file.extend(strays.iter().map(String::as_str));
    warned(
        &file,
        &leaf.key,
        &["certificate 6 (\"CN=stray 3\"), 36 more; take out"],
    );
}

fn der(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
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
fn what_some_clients_refuse_in_the_certificate_is_warned_of() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    use KeyUsagePurpose::{DigitalSignature, KeyEncipherment};
    let ca = Ca::new("servers");
    let server = || leaf_params("gate", ServerAuth);
    let but = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = server();
        change(&mut params);
        params
    };
    let named = |name: SanType| but(&|it| it.subject_alt_names = vec![name.clone()]);
    let used_for =
        |usages: &[ExtendedKeyUsagePurpose]| but(&|it| it.extended_key_usages = usages.to_vec());
    let keyed = |usages: &[KeyUsagePurpose]| but(&|it| it.key_usages = usages.to_vec());
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let uri = SanType::URI("spiffe://td/gate".try_into().unwrap());
    let unnamed = but(&|it| it.subject_alt_names.clear());
    let a_ca = but(&|it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let odd = but(&|it| {
        let mut policies = CustomExtension::from_oid_content(&[2, 5, 29, 32], vec![48, 0]);
        policies.set_criticality(true);
        it.custom_extensions = vec![policies];
    });
    let disliked: Vec<(CertificateParams, &[&str])> = vec![
        (
            used_for(&[ClientAuth]),
            &["does not list serverAuth", "issued with serverAuth"],
        ),
        (
            used_for(&[Any]),
            &["lists anyExtendedKeyUsage in place of serverAuth", "curl"],
        ),
        (used_for(&[Any, ClientAuth]), &["in place of serverAuth"]),
        (
            keyed(&[KeyEncipherment]),
            &["does not list digitalSignature", "GnuTLS"],
        ),
        (
            unnamed,
            &["has no subject alternative name", "issued with one"],
        ),
        (
            named(dns("Portcullis Gate")),
            &["dns:Portcullis Gate is no host name and no IP address"],
        ),
        (named(dns("gate:9090")), &["dns:gate:9090 is no host name"]),
        (named(uri), &["uri:spiffe://td/gate is no host name"]),
        (a_ca, &["is that of a CA", "portcullis scrape"]),
        (odd, &["do not know", "portcullis scrape"]),
    ];
    for (params, parts) in disliked {
        let issued = ca.issue(&params);
        warned(&[&issued.cert], &issued.key, parts);
    }
    let liked = [
        server(),
        used_for(&[]),
        used_for(&[ServerAuth, ClientAuth]),
        used_for(&[Any, ServerAuth]),
        keyed(&[DigitalSignature]),
        named(dns("*.gates.test")),
        named(dns("gate_1")),
        named(SanType::IpAddress("10.0.0.1".parse().unwrap())),
        named(SanType::IpAddress("fd00::1".parse().unwrap())),
    ];
    for params in liked {
        let issued = ca.issue(&params);
        let server = judge(&[&issued.cert], &issued.key).unwrap();
        assert_eq!(warnings(&server), [""; 0], "{params:?}");
    }
}

#[test]
fn what_clients_refuse_further_up_is_warned_of() {
    let now = SystemTime::now();
    let (root, limited) = (Ca::new("root"), |from: SystemTime, to: SystemTime| {
        let mut params = ca_params("upper");
        (params.not_before, params.not_after) = (from.into(), to.into());
        params
    });
    let mut no_ca = ca_params("upper");
    no_ca.is_ca = IsCa::NoCa;
    let cases = [
        (limited(now - 3 * DAY, now - DAY), "expired at"),
        (limited(now + DAY, now + 3 * DAY), "is not valid before"),
        (
            limited(now - DAY, now + DAY),
            "before the certificate that it vouches for",
        ),
        (no_ca, "is no CA"),
    ];
    for (params, what) in cases {
        let upper = root.below(params);
        let leaf = upper.server();
        let chain = [&*leaf.cert, &upper.pem(), &root.pem()];
        warned(&chain, &leaf.key, &["certificate 2 (\"CN=upper\") ", what]);
    }
    // A root's own dates are its clients' business.
    let mut params = ca_params("old root");
    (params.not_before, params.not_after) = ((now - 3 * DAY).into(), (now - DAY).into());
    let root = Ca::from(params);
    let leaf = root.server();
    let server = judge(&[&leaf.cert, &root.pem()], &leaf.key).unwrap();
    assert_eq!(warnings(&server), [""; 0]);
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
