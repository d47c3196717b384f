//! Certificates that some client cannot use.

use super::*;

#[test]
fn each_fault_of_a_certificate_is_named_and_its_key_is_not_blamed() {
    let issued = server();
    let der: &[u8] = &issued.der;
    let uncompressed = point(der);
    let (x, y) = uncompressed[1..].split_at(32);
    let parity = 2 + (y[31] & 1);
    let ec = [oid(EC), oid(P256)];
    let ec: Vec<&[u8]> = ec.iter().map(Vec::as_slice).collect();
    let compressed = spki(&ec, &[&[parity], x].concat());
    let hybrid = spki(&ec, &[&[parity + 4], x, y].concat());
    let infinity = spki(&ec, &[0]);
    let twice = |fields: &mut Vec<Vec<u8>>| {
        let (_, tagged) = Any::from_der(&fields[EXTENSIONS]).unwrap();
        let (_, list) = Any::from_der(tagged.data).unwrap();
        let mut list = elements(list.data);
        list.push(list[0].clone());
        let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        fields[EXTENSIONS] = tlv(0xa3, &[&tlv(0x30, &list)]);
    };
    let with_extension = |oid: &[u64], critical: bool| {
        let mut params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
        let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
        extension.set_criticality(critical);
        params.custom_extensions = vec![extension];
        Ca::new("servers").issue(&params)
    };
    let critical = with_extension(&[1, 2, 3, 4], true);
    let poisoned = with_extension(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], true);
    let key_usage = with_extension(&[2, 5, 29, 15], true);
    let cases = [
        (
            changed(der, |fields| {
                fields.remove(EXTENSIONS);
                fields.remove(0);
            }),
            &*issued.key,
            "is X.509 version 1",
            "-extfile",
        ),
        (
            changed(der, |fields| fields[0] = tlv(0xa0, &[&[2, 1, 1]])),
            &*issued.key,
            "is X.509 version 2",
            "version 3",
        ),
        (
            changed(der, twice),
            &*issued.key,
            "has the extension subjectAltName twice",
            "issued with one",
        ),
        (
            changed(der, |fields| fields[KEY] = compressed),
            &*issued.key,
            "compressed point, which Go (Prometheus)",
            "-conv_form uncompressed",
        ),
        (
            changed(der, |fields| fields[KEY] = hybrid),
            &*issued.key,
            "hybrid point",
            "-conv_form uncompressed",
        ),
        (
            changed(der, |fields| fields[KEY] = infinity),
            &*issued.key,
            "its key is malformed",
            "issued again",
        ),
        (
            pem("CERTIFICATE", &tlv(0x30, &[&tlv(0x30, &[])])),
            &*issued.key,
            "cannot be read as a certificate: its serial number is malformed",
            "issued again",
        ),
        (
            changed(der, |fields| fields[4] = tlv(0x30, &[])),
            &*issued.key,
            "its dates are malformed",
            "issued again",
        ),
        (
            critical.cert,
            &*critical.key,
            "has the critical extension 1.2.3.4",
            "issued without it",
        ),
        (
            poisoned.cert,
            &*poisoned.key,
            "critical extension CT poison",
            "issued without it",
        ),
        (
            key_usage.cert,
            &*key_usage.key,
            "its extension keyUsage is malformed",
            "issued again",
        ),
    ];
    for (cert, key, what, remedy) in cases {
        let problems = said(
            &cert,
            key,
            &[what, remedy, "--cert: \"file\": certificate 1 "],
        );
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn a_critical_extension_that_go_and_openssl_know_is_none_to_refuse() {
    let mut params = leaf_params("gate", ExtendedKeyUsagePurpose::ServerAuth);
    // One policy of no meaning.
    let policies = tlv(0x30, &[&tlv(0x30, &[&oid("1.2.3.4")])]);
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 32], policies);
    extension.set_criticality(true);
    params.custom_extensions = vec![extension];
    let issued = Ca::new("servers").issue(&params);
    let own = read(&issued.cert, &issued.key).unwrap();
    let certificate = Certificate::read(&own.chain[0]).unwrap();
    assert!(!certificate.is_read_by_rustls());
}

#[test]
fn a_fault_further_up_is_told_with_its_place_if_no_go_client_gets_past_it() {
    let ca = Ca::new("servers");
    let issued = ca.server();
    let upper = |change: &dyn Fn(&mut Vec<Vec<u8>>)| changed(ca.0.der(), change);
    let damaged = pem("CERTIFICATE", b"hello");
    let chain = format!("{}{damaged}", issued.cert);
    let line = issued.cert.lines().count() + 1;
    said(
        &chain,
        &issued.key,
        &[&format!("line {line}: the CERTIFICATE that begins there")],
    );
    // A root of the first version is read by everybody, and looked at by nobody.
    let old = upper(&|fields| {
        fields.remove(EXTENSIONS);
        fields.remove(0);
    });
    assert!(read(&format!("{}{old}", issued.cert), &issued.key).is_ok());
}

#[test]
fn who_signed_is_told_by_the_key() {
    let (ca, namesake) = (Ca::new("servers"), Ca::from(ca_params("servers")));
    let issued = ca.server();
    let der = |ca: &Ca| ca.0.der().clone();
    let (ca, namesake) = (der(&ca), der(&namesake));
    let leaf = Certificate::read(&issued.der).unwrap();
    let by = |der| leaf.is_signed_by(&Certificate::read(der).unwrap());
    assert_eq!((by(&ca), by(&namesake)), (Some(true), Some(false)));
    assert_eq!(leaf.weak_signature(), None);
}
