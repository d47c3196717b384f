//! The commands in a temporary folder, their files read back by parsers that did not write them.

mod revoke;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tempfile::TempDir;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage,
    RevocationOptionsBuilder, anchor_from_trusted_cert,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::serial::Serial;
use super::*;
use crate::identity::{Client, ClientAuthUsage, Validity};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    pki: Pki,
}

fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

/// Runs `pki WORDS… --dir DIR`; the words have no spaces in them.
fn pki(dir: &TempDir, words: &str) -> Result<String, String> {
    let mut line: Vec<OsString> = ["pki"]
        .into_iter()
        .chain(words.split_whitespace())
        .map(OsString::from)
        .collect();
    line.extend(["--dir".into(), dir.path().into()]);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    line.pki
        .perform(time(NOW))
        .map_err(|error| format!("{error:#}"))
}

fn with_ca() -> TempDir {
    let dir = TempDir::new().unwrap();
    pki(&dir, "init").unwrap();
    dir
}

fn certificate(dir: &TempDir, path: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.path().join(path)).unwrap()
}

fn client(dir: &TempDir, name: &str) -> Client {
    Client::from_der(&certificate(dir, &format!("{name}/tls.crt"))).unwrap()
}

fn mode(dir: &TempDir, path: &str) -> u32 {
    let metadata = fs::metadata(dir.path().join(path)).unwrap();
    metadata.permissions().mode() & 0o777
}

/// Whether webpki, asked like a TLS peer, finds the certificate good.
fn verdict(
    dir: &TempDir,
    name: &str,
    usage: KeyUsage,
    list: Option<&[u8]>,
) -> Result<(), webpki::Error> {
    let authority = certificate(dir, "ca.crt");
    let anchors = [anchor_from_trusted_cert(&authority).unwrap()];
    let leaf = certificate(dir, &format!("{name}/tls.crt"));
    let list = list.map(|pem| CertificateRevocationListDer::from_pem_slice(pem).unwrap());
    let list = list.as_ref().map(|der| {
        CertRevocationList::from(
            BorrowedCertRevocationList::from_der(der)
                .unwrap()
                .to_owned()
                .unwrap(),
        )
    });
    let lists: Vec<&CertRevocationList<'_>> = list.iter().collect();
    let revocation = RevocationOptionsBuilder::new(&lists).ok();
    EndEntityCert::try_from(&leaf)
        .unwrap()
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &[],
            time(NOW),
            usage,
            revocation.map(|builder| builder.build()),
            None,
        )
        .map(|_| ())
}

#[test]
fn a_ca_may_sign_certificates_and_lists_and_nothing_else() {
    let dir = with_ca();
    let der = certificate(&dir, "ca.crt");
    let (_, ca) = X509Certificate::from_der(&der).unwrap();
    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    let usage = ca.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(!usage.value.digital_signature());
    let validity = Validity::of(&ca);
    assert_eq!(validity.not_before, time(NOW - 300));
    assert_eq!(validity.not_after, time(NOW + 365 * DAY));
}

#[test]
fn two_cas_never_have_the_same_name() {
    let (one, other) = (with_ca(), with_ca());
    let subject = |dir| {
        let der = certificate(dir, "ca.crt");
        let (_, ca) = X509Certificate::from_der(&der).unwrap();
        ca.subject().to_string()
    };
    assert_ne!(subject(&one), subject(&other));
}

#[test]
fn issued_certificates_verify_for_their_purpose_only() {
    let dir = with_ca();
    pki(&dir, "issue server server --dns localhost --ip 127.0.0.1").unwrap();
    pki(&dir, "issue client client").unwrap();
    let server = || KeyUsage::server_auth();
    let client = || KeyUsage::client_auth();
    assert_eq!(verdict(&dir, "server", server(), None), Ok(()));
    assert_eq!(verdict(&dir, "client", client(), None), Ok(()));
    assert!(verdict(&dir, "server", client(), None).is_err());
    assert!(verdict(&dir, "client", server(), None).is_err());
    assert_eq!(
        fs::read(dir.path().join("ca.crt")).unwrap(),
        fs::read(dir.path().join("client/ca.crt")).unwrap()
    );
    let key = PrivateKeyDer::from_pem_file(dir.path().join("client/tls.key")).unwrap();
    assert!(matches!(key, PrivateKeyDer::Pkcs8(_)));
}

#[test]
fn a_leaf_has_every_name_that_was_asked_for() {
    let dir = with_ca();
    pki(
        &dir,
        "issue client client --dns a.example --dns *.b.example --uri spiffe://td/x --uri urn:y \
         --ip ::1 --cn someone --ou one --ou two --ou three",
    )
    .unwrap();
    let client = client(&dir, "client");
    assert_eq!(client.dns_names(), ["a.example", "*.b.example"]);
    assert_eq!(client.uris(), ["spiffe://td/x", "urn:y"]);
    assert_eq!(client.common_names(), ["someone"]);
    assert_eq!(client.organizational_units(), ["one", "two", "three"]);
    assert!(client.display_names().contains(&"ip:::1".to_owned()));
    assert_eq!(client.client_auth(), ClientAuthUsage::Listed);
    // Signed again for the units that rcgen cannot write, so it must still verify.
    assert_eq!(
        verdict(&dir, "client", KeyUsage::client_auth(), None),
        Ok(())
    );
}

#[test]
fn the_name_stands_in_for_names_that_were_not_given() {
    let dir = with_ca();
    pki(&dir, "issue client prometheus.monitoring.svc grafana").unwrap();
    let prometheus = client(&dir, "prometheus.monitoring.svc");
    assert_eq!(prometheus.dns_names(), ["prometheus.monitoring.svc"]);
    assert_eq!(prometheus.common_names(), ["prometheus.monitoring.svc"]);
    assert_eq!(client(&dir, "grafana").dns_names(), ["grafana"]);

    pki(&dir, "issue client by-uri --uri spiffe://td/x").unwrap();
    assert_eq!(client(&dir, "by-uri").dns_names(), [""; 0]);
}

#[test]
fn serials_are_sixteen_positive_bytes_and_never_the_same() {
    let dir = with_ca();
    pki(&dir, "issue client a b").unwrap();
    let (a, b) = (client(&dir, "a"), client(&dir, "b"));
    assert_ne!(a.serial(), b.serial());
    assert_eq!(a.serial().len(), 32);
    let first = u8::from_str_radix(&a.serial()[..2], 16).unwrap();
    assert!((0x40..0x80).contains(&first));
}

#[test]
fn a_leaf_ends_with_its_ca_at_the_latest() {
    let dir = TempDir::new().unwrap();
    pki(&dir, "init --days 10").unwrap();
    let account = pki(&dir, "issue client client").unwrap();
    assert!(account.contains("The CA ends sooner"), "{account}");
    let validity = client(&dir, "client").validity();
    assert_eq!(validity.not_before, time(NOW - 300));
    assert_eq!(validity.not_after, time(NOW + 10 * DAY));
    assert!(
        !pki(&dir, "issue client b --days 9")
            .unwrap()
            .contains("sooner")
    );
}

#[test]
fn keys_are_readable_by_their_owner_only() {
    let dir = with_ca();
    pki(&dir, "issue client client").unwrap();
    assert_eq!(mode(&dir, "ca.key"), 0o600);
    assert_eq!(mode(&dir, "client/tls.key"), 0o600);

    // A replaced key does not take over the mode of what it replaces.
    let path = dir.path().join("client/tls.key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    pki(&dir, "issue client client --force").unwrap();
    assert_eq!(mode(&dir, "client/tls.key"), 0o600);
}

#[test]
fn one_existing_file_and_nothing_is_written() {
    let dir = with_ca();
    let old = dir.path().join("b/ca.crt");
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(&old, "mine").unwrap();
    let refusal = pki(&dir, "issue client a b").unwrap_err();
    assert!(refusal.contains("b/ca.crt: exists"), "{refusal}");
    assert!(refusal.contains("--force"), "{refusal}");
    assert!(!dir.path().join("a").exists());
    assert!(!dir.path().join("b/tls.key").exists());
    assert_eq!(fs::read_to_string(&old).unwrap(), "mine");

    pki(&dir, "issue client a b --force").unwrap();
    assert_ne!(fs::read_to_string(&old).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path().join("b")).unwrap().count(), 3);
}

#[test]
fn a_second_ca_needs_force() {
    let dir = with_ca();
    let before = fs::read(dir.path().join("ca.key")).unwrap();
    let refusal = pki(&dir, "init").unwrap_err();
    assert!(refusal.contains("ca.key: exists"), "{refusal}");
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), before);
    pki(&dir, "init --force").unwrap();
    assert_ne!(fs::read(dir.path().join("ca.key")).unwrap(), before);
}

#[test]
fn without_a_ca_the_first_step_is_named() {
    let dir = TempDir::new().unwrap();
    for words in ["issue client client", "revoke 5f"] {
        let refusal = pki(&dir, words).unwrap_err();
        assert!(refusal.contains("ca.crt: there is no CA"), "{refusal}");
        assert!(refusal.contains("`portcullis pki init --dir"), "{refusal}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_ca_of_two_halves_is_refused() {
    let (dir, other) = (with_ca(), with_ca());
    fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    let refusal = pki(&dir, "issue client client").unwrap_err();
    assert!(
        refusal.contains("the key is not the certificate's"),
        "{refusal}"
    );
}

#[test]
fn odd_names_are_refused_before_anything_is_written() {
    let dir = with_ca();
    for (words, why) in [
        ("issue client ../x", "not a folder name"),
        ("issue client a/b", "not a folder name"),
        ("issue client .hidden", "not a folder name"),
        ("issue client a..b", "leads elsewhere"),
        ("issue client CA.crt", "a file of the PKI itself"),
        ("issue client a a", "given twice"),
        ("issue client a-", "not a DNS name; give --dns"),
        ("issue client a --dns a_b..c", "not a DNS name"),
        ("issue client a --uri spiffe://tdä/x", "ASCII"),
        ("issue client a --uri nowhere", "not a URI"),
        ("issue client a --ip localhost", "invalid value 'localhost'"),
        ("issue client a --days 0", "invalid value '0'"),
        ("issue client", "required"),
        ("issue gate a", "invalid value 'gate'"),
    ] {
        let refusal = pki(&dir, words).unwrap_err();
        assert!(refusal.contains(why), "{words}: {refusal}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn serial_numbers_are_read_as_people_write_them() {
    for (text, meaning) in [
        ("5f", "5f"),
        ("0x5F", "5f"),
        ("05:0c:9A", "050c9a"),
        ("abc", "0abc"),
        ("0000000000000000000000000000000000000000000001", "01"),
    ] {
        assert_eq!(text.parse::<Serial>().unwrap().to_string(), meaning);
    }
    let long = "01".repeat(21);
    for text in ["", "0", "00:00", "0x", "xyz", "5f 5f", &long] {
        assert!(text.parse::<Serial>().is_err(), "{text}");
    }
}

#[test]
fn no_two_flags_collide() {
    use clap::CommandFactory as _;
    Line::command().debug_assert();
}
