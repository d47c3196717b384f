//! What some clients refuse, and what none does.

use super::*;

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
