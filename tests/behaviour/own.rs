//! The gate's own certificate and key as they are in practice: chains that are no straight line, in front of every
//! kind of client, and what openssl makes of keys and certificates that nobody can use.

use std::path::Path;

use rcgen::{KeyPair, KeyUsagePurpose};

use crate::support::gate::{Setup, portcullis};
use crate::support::peers::{Done, Input, curl, gnutls_cli, openssl, run, s_client};
use crate::support::pki::{
    Authority, Credentials, Pki, SERVER_NAME, authority_params, server_params, temporary_folder,
};
use crate::support::target;

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn check(pki: &Pki, own: &Credentials) -> Done {
    let mut command = portcullis();
    command
        .args(["check", "--allow-any-client", "--cert"])
        .arg(own.cert())
        .arg("--key")
        .arg(own.key())
        .arg("--client-ca")
        .arg(pki.ca());
    run(&mut command, &Input::All(b""))
}

/// What was said, on one line and with single spaces, so that no line break hides a sentence.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_chain_that_is_no_straight_line_is_served_to_every_kind_of_client() {
    let pki = Pki::shared();
    let target = target::exporter();
    let (second_root, stranger) = (
        Authority::root("second root"),
        Authority::root("a stranger"),
    );
    let (upper, upper_certificate) = pki.authority().intermediate(authority_params("upper"));
    // One CA, signed by two others: what a PKI has while it moves from one root to the next.
    let issuing_key = KeyPair::generate().expect("a key");
    let issuing = upper.sign(&authority_params("issuing"), &issuing_key);
    let twin = second_root.sign(&authority_params("issuing"), &issuing_key);
    let stray = stranger.sign(&authority_params("a stray"), &issuing_key);
    let issuer = rcgen::Issuer::new(authority_params("issuing"), issuing_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = server_params().signed_by(&key, &issuer).expect("a leaf");
    let file = [&leaf, &upper_certificate, &stray, &issuing, &twin, &issuing];
    let own = pki.store(&file, &key);
    let gate = Setup::open_to(&pki, &target)
        .flag("--cert", own.cert())
        .flag("--key", own.key())
        .flag("--tls-min", "1.2")
        .start();
    for said in [
        "(\\\"CN=a stray\\\"); take out",
        "once more",
        "stands before",
        "both issued",
    ] {
        gate.log.wait_for_text(said);
    }
    let client = pki.client("chains");
    for version in ["-tls1_3", "-tls1_2"] {
        let mut command = s_client(gate.address(), &pki.ca(), Some(&client));
        let done = run(command.args(["-showcerts", version]), &Input::Open(GET));
        assert!(
            done.stdout.contains(target::EXPOSITION),
            "{version}: {done:?}"
        );
        let names: Vec<_> = done
            .stdout
            .lines()
            .filter_map(|line| line.trim_start().split_once(" s:CN = "))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["a client", "upper", "issuing", "issuing"]);
    }
    let done = run(
        &mut curl(gate.address(), "/metrics", &client),
        &Input::All(b""),
    );
    assert_eq!(done.stdout, target::EXPOSITION, "{done:?}");
    let mut command = gnutls_cli(gate.address(), &pki.ca(), Some(&client));
    let done = run(&mut command, &Input::Open(GET));
    assert!(done.stdout.contains(target::EXPOSITION), "{done:?}");
    let mut scrape = portcullis();
    scrape.args(["scrape", "--server-name", SERVER_NAME]);
    scrape.arg(format!("https://{}/metrics", gate.address()));
    scrape
        .arg("--cert")
        .arg(client.cert())
        .arg("--key")
        .arg(client.key());
    let done = run(scrape.arg("--ca").arg(client.ca()), &Input::All(b""));
    assert_eq!(done.stdout, target::EXPOSITION, "{done:?}");
}

/// A key by `openssl genpkey` and a certificate of its own for it.
fn self_signed(folder: &Path, key: &[&str]) -> Credentials {
    let own = Credentials::at(folder.to_owned());
    let (cert, key_file) = (own.cert(), own.key());
    let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
    let (cert, key_file) = (text(&cert), text(&key_file));
    openssl(&[&["genpkey", "-out", &key_file], key].concat());
    openssl(&[
        "req",
        "-x509",
        "-key",
        &key_file,
        "-out",
        &cert,
        "-subj",
        "/CN=gate",
        "-days",
        "2",
        "-addext",
        "basicConstraints=CA:false",
        "-addext",
        "subjectAltName=DNS:gate.test",
    ]);
    own
}

#[test]
fn a_key_is_told_by_its_kind_whether_it_can_be_used_or_not() {
    let pki = Pki::shared();
    let ec = |curve: &'static str| -> Vec<&'static str> {
        let option = match curve {
            "P-224" => "ec_paramgen_curve:P-224",
            "P-384" => "ec_paramgen_curve:P-384",
            "P-521" => "ec_paramgen_curve:P-521",
            "secp256k1" => "ec_paramgen_curve:secp256k1",
            _ => "ec_paramgen_curve:P-256",
        };
        vec!["-algorithm", "EC", "-pkeyopt", option]
    };
    let rsa = |algorithm, bits| vec!["-algorithm", algorithm, "-pkeyopt", bits];
    let usable = [
        (ec("P-256"), "ECDSA P-256"),
        (ec("P-384"), "ECDSA P-384"),
        (ec("P-521"), "ECDSA P-521"),
        (rsa("RSA", "rsa_keygen_bits:2048"), "RSA, 2048 bits"),
        (vec!["-algorithm", "ED25519"], "Ed25519"),
    ];
    for (key, name) in usable {
        let folder = temporary_folder();
        let own = self_signed(folder.path(), &key);
        let done = check(&pki, &own);
        assert_eq!(done.code, 0, "{done:?}");
        let told = format!("(matches) {name}");
        assert!(flat(&done.stdout).contains(&told), "{told}: {done:?}");
    }
    let useless = [
        (ec("P-224"), "ECDSA P-224"),
        (ec("secp256k1"), "ECDSA secp256k1"),
        (rsa("RSA", "rsa_keygen_bits:1024"), "RSA, 1024 bits"),
        (rsa("RSA-PSS", "rsa_keygen_bits:2048"), "RSA-PSS"),
        (vec!["-algorithm", "ED448"], "Ed448"),
    ];
    for (key, name) in useless {
        let folder = temporary_folder();
        let own = self_signed(folder.path(), &key);
        let done = check(&pki, &own);
        assert_eq!(done.code, 2, "{done:?}");
        let of_the_certificate =
            format!("certificate 1 has a key ({name}) that TLS has no use for");
        let of_the_key = format!("the key is {name}, which TLS has no use for");
        for said in [&of_the_certificate, &of_the_key] {
            assert!(done.stderr.contains(said.as_str()), "{said}: {done:?}");
        }
        assert_eq!(done.stderr.lines().count(), 2, "{done:?}");
    }
}

#[test]
fn a_key_that_openssl_encrypted_is_told_as_encrypted_in_every_form() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let own = self_signed(
        folder.path(),
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    );
    let key = own.key();
    let key = key.to_str().expect("a UTF-8 path");
    let forms: [&[&str]; 2] = [
        &["ec", "-aes256", "-passout", "pass:secret", "-in", key],
        &[
            "pkcs8",
            "-topk8",
            "-v2",
            "aes256",
            "-passout",
            "pass:secret",
            "-in",
            key,
        ],
    ];
    let plain = std::fs::read_to_string(key).expect("it was made");
    let cert = std::fs::read_to_string(own.cert()).expect("it was made");
    for form in forms {
        let encrypted = openssl(form);
        std::fs::write(key, &encrypted).expect("it can be written");
        let done = check(&pki, &own);
        assert_eq!(done.code, 2, "{done:?}");
        let place = format!("--key: {key:?}: line ");
        let said = "the key is encrypted, and nobody is there to type a password";
        assert!(done.stderr.contains(&place), "{done:?}");
        assert!(done.stderr.contains(said), "{done:?}");
        std::fs::write(key, &plain).expect("it can be written");
    }
    let beside = cert + &openssl(forms[0]);
    std::fs::write(own.cert(), beside).expect("it can be written");
    let done = check(&pki, &own);
    assert!(done.stderr.contains("the key is encrypted"), "{done:?}");
    assert!(!done.stderr.contains("--key"), "{done:?}");
}

#[test]
fn what_openssl_makes_and_go_cannot_read_is_told_with_the_true_cause() {
    let pki = Pki::shared();
    let folder = temporary_folder();
    let path = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("a UTF-8 path")
            .to_owned()
    };
    let (key, request, cert) = (path("tls.key"), path("request"), path("tls.crt"));
    let (ca, ca_key) = (pki.ca(), pki.folder().join("ca.key"));
    let (ca, ca_key) = (ca.to_str().expect("UTF-8"), ca_key.to_str().expect("UTF-8"));
    let own = Credentials::at(folder.path().to_owned());
    for (form, version, said) in [
        ("uncompressed", "1", "certificate 1 is X.509 version 1"),
        (
            "compressed",
            "3",
            "certificate 1 has its key as a compressed point",
        ),
    ] {
        let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        openssl(&[&["genpkey", "-out", &key][..], &curve].concat());
        let point = ["ec", "-in", &key, "-conv_form", form, "-out", &key];
        openssl(&point);
        let subject = ["-subj", "/CN=gate", "-out", &request];
        openssl(&[&["req", "-new", "-key", &key][..], &subject].concat());
        let sign = [
            "x509", "-req", "-in", &request, "-CA", ca, "-CAkey", ca_key, "-days", "2", "-out",
            &cert,
        ];
        let extensions = path("extensions");
        std::fs::write(&extensions, "subjectAltName=DNS:gate.test").expect("it can be written");
        let extended = ["-extfile", &*extensions];
        openssl(&[&sign[..], if version == "3" { &extended } else { &[] }].concat());
        let done = check(&pki, &own);
        assert_eq!(done.code, 2, "{done:?}");
        assert!(done.stderr.contains(said), "{said}: {done:?}");
        assert_eq!(
            done.stderr.lines().count(),
            1,
            "the key is not blamed: {done:?}"
        );
        let mut scrape = portcullis();
        scrape.args([
            "scrape",
            "https://127.0.0.1:1/",
            "--cert",
            &cert,
            "--key",
            &key,
            "--ca",
            ca,
        ]);
        let done = run(&mut scrape, &Input::All(b""));
        assert_eq!(done.code, 2, "{done:?}");
        assert!(
            done.stderr.contains(&format!("--cert: {cert:?}: {said}")),
            "{done:?}"
        );
    }
}

#[test]
fn what_some_clients_refuse_is_told_by_check_and_in_the_log() {
    let pki = Pki::shared();
    let target = target::echo();
    let mut params = server_params();
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let own = pki.forge(&params);
    let done = check(&pki, &own);
    assert_eq!(done.code, 0, "a warning is no refusal: {done:?}");
    let gate = Setup::open_to(&pki, &target)
        .flag("--cert", own.cert())
        .flag("--key", own.key())
        .start();
    let sha1 = signed_with_sha1(&pki);
    let weak = check(&pki, &Credentials::at(sha1.path().to_owned()));
    assert_eq!(weak.code, 0, "{weak:?}");
    let told = "(\"CN=gate\") is signed with SHA-1, which clients do not accept";
    assert!(flat(&weak.stdout).contains(told), "{weak:?}");
    for said in ["does not list serverAuth", "does not list digitalSignature"] {
        assert!(flat(&done.stdout).contains(said), "{said}: {done:?}");
        gate.log.wait_for_text(said);
    }
}

/// A certificate that the development CA signed the way CAs did long ago, and its key.
fn signed_with_sha1(pki: &Pki) -> tempfile::TempDir {
    let folder = temporary_folder();
    let path = |name: &str| {
        let path = folder.path().join(name);
        path.to_str().expect("a UTF-8 path").to_owned()
    };
    let (key, request, cert) = (path("tls.key"), path("request"), path("tls.crt"));
    let extensions = path("extensions");
    std::fs::write(&extensions, "subjectAltName=DNS:gate.test").expect("it can be written");
    let text = |path: std::path::PathBuf| path.to_str().expect("a UTF-8 path").to_owned();
    let (ca, ca_key) = (text(pki.ca()), text(pki.folder().join("ca.key")));
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", &key]);
    openssl(&[
        "req", "-new", "-key", &key, "-subj", "/CN=gate", "-out", &request,
    ]);
    let sign = [
        "x509", "-req", "-sha1", "-in", &request, "-CA", &ca, "-CAkey", &ca_key,
    ];
    let options = ["-days", "2", "-extfile", &extensions, "-out", &cert];
    openssl(&[&sign[..], &options].concat());
    folder
}
