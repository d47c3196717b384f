//! Keys in every wrapping.

use super::*;

#[test]
fn keys_are_the_same_if_their_values_are() {
    let (modulus, exponent) = ([0xc1; 256], [1, 0, 1]);
    let integer = |bytes: &[u8]| tlv(2, &[&[0], bytes]);
    let rsa = tlv(0x30, &[&integer(&modulus), &tlv(2, &[&exponent])]);
    let null: &[u8] = &[5, 0];
    let usual = public_key::PublicKey::from_der(&spki(&[&oid(RSA), null], &rsa)).unwrap();
    let odd = public_key::PublicKey::from_der(&spki(&[&oid(RSA)], &rsa)).unwrap();
    assert!(usual.is(&odd));
    assert_eq!(usual.kind.to_string(), "RSA, 2048 bits");
    assert_eq!(
        (usual.odd, odd.odd),
        (None, Some(public_key::OddForm::RsaWithoutNull))
    );
    let other = tlv(0x30, &[&integer(&[0xc2; 256]), &tlv(2, &[&exponent])]);
    let other = public_key::PublicKey::from_der(&spki(&[&oid(RSA), null], &other)).unwrap();
    assert!(!usual.is(&other));
}

/// A PKCS#8 key of this algorithm whose key is no key.
fn pkcs8(algorithm: &[&[u8]], key: &[u8]) -> String {
    let algorithm = tlv(0x30, algorithm);
    let der = tlv(0x30, &[&[2, 1, 0], &algorithm, &tlv(4, &[key])]);
    pem("PRIVATE KEY", &der)
}

fn rsa_key(bits: usize) -> Vec<u8> {
    let modulus = vec![0xc1; bits / 8];
    tlv(0x30, &[&[2, 1, 0], &tlv(2, &[&[0], &modulus])])
}

#[test]
fn each_key_that_is_none_to_use_is_named_and_the_certificate_is_not() {
    let issued = server();
    let null: &[u8] = &[5, 0];
    let sec1 = |curve: &[u8]| {
        let curve = tlv(0xa0, &[curve]);
        let key = tlv(4, &[&[7; 28]]);
        pem("EC PRIVATE KEY", &tlv(0x30, &[&[2, 1, 1], &key, &curve]))
    };
    let legacy = issued.key.replace(
        "KEY-----\n",
        "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
    );
    let password = "nobody is there to type a password";
    let useless = "which TLS has no use for here";
    let signed = tlv(0x30, &[&tlv(0x30, &[])]);
    let cases = [
        ("# nothing".to_owned(), "no PEM block PRIVATE KEY"),
        (issued.cert.clone(), "but CERTIFICATE at line 1; it must"),
        (pem("ENCRYPTED PRIVATE KEY", &signed), password),
        (legacy, password),
        (issued.key.repeat(2), "a second private key"),
        (issued.key[..issued.key.len() / 2].to_owned(), "cut short"),
        (pem("PUBLIC KEY", &signed), "but PUBLIC KEY at line 1"),
        (pem("OPENSSH PRIVATE KEY", &[0]), "ssh-keygen -p -m PKCS8"),
        (pem("DSA PRIVATE KEY", &[0]), "of no use in TLS"),
        (
            pem("EC PARAMETERS", &oid(P256)),
            "but EC PARAMETERS at line 1",
        ),
        ("0\u{1}\u{1}".to_owned(), "DER, not PEM; convert it"),
        (
            pkcs8(&[&oid(EC), &oid("1.3.132.0.33")], &[]),
            "is ECDSA P-224, which",
        ),
        (
            pkcs8(&[&oid(EC), &oid("1.3.132.0.10")], &[]),
            "is ECDSA secp256k1, which",
        ),
        (
            pkcs8(&[&oid(EC), &oid("1.2.3")], &[]),
            "is ECDSA with the curve 1.2.3, which",
        ),
        (
            pkcs8(&[&oid(EC), &tlv(0x30, &[])], &[]),
            "with a curve that has no name, which",
        ),
        (sec1(&oid("1.3.132.0.33")), "is ECDSA P-224, which"),
        (pkcs8(&[&oid("1.3.101.113")], &[]), "is Ed448, which"),
        (pkcs8(&[&oid("1.3.101.110")], &[]), "is X25519, which"),
        (
            pkcs8(&[&oid("1.2.840.113549.1.1.10")], &[]),
            "is RSA-PSS, which",
        ),
        (
            pkcs8(&[&oid("1.2.3.4")], &[]),
            "is of the kind 1.2.3.4, which",
        ),
        (
            pkcs8(&[&oid(RSA), null], &rsa_key(1024)),
            "is RSA, 1024 bits, which",
        ),
        (
            pkcs8(&[&oid(RSA), null], &rsa_key(16_384)),
            "is RSA, 16384 bits, which",
        ),
        (
            pem("RSA PRIVATE KEY", &rsa_key(512)),
            "is RSA, 512 bits, which",
        ),
        (
            pem("RSA PRIVATE KEY", &rsa_key(2048)),
            "the key (RSA, 2048 bits) is damaged",
        ),
        (
            pkcs8(&[&oid(EC), &oid(P256)], &[]),
            "the key (ECDSA P-256) is damaged",
        ),
        (pem("PRIVATE KEY", b"hello"), "is cut short: 5 of the 103"),
    ];
    for (key, what) in cases {
        let problems = said(&issued.cert, &key, &[what]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("--key: \"file\": "), "{problems:?}");
        assert!(problems[0].contains("; "), "a remedy: {problems:?}");
        assert_eq!(
            problems[0].contains(useless),
            what.contains("which"),
            "{problems:?}"
        );
    }
}

#[test]
fn an_encrypted_key_beside_a_certificate_is_told_as_such() {
    let issued = server();
    let encrypted = issued.key.replace(
        "KEY-----\n",
        "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
    );
    let both = format!("{}{encrypted}", issued.cert);
    let problems = said(
        &both,
        &issued.key,
        &["--cert: \"file\": line ", "the key is encrypted"],
    );
    assert_eq!(problems.len(), 1, "{problems:?}");
}
