//! Revocations: what one command says is in the list, whatever other commands do at the same time.

use std::process::Command;
use std::sync::Barrier;

use super::*;
use crate::cli::pki::authority::Revocations;

fn list(dir: &TempDir) -> Revocations {
    let pem = fs::read(dir.path().join("ca.crl")).unwrap();
    load(dir.path())
        .unwrap()
        .read_revocation_list(&pem)
        .unwrap()
}

#[test]
fn a_revoked_certificate_is_refused_and_stays_so() {
    let dir = with_ca();
    pki(&dir, "issue client a b c").unwrap();
    let usage = KeyUsage::client_auth;
    let path = |name: &str| dir.path().join(name).join("tls.crt").display().to_string();
    let list = || fs::read(dir.path().join("ca.crl")).unwrap();

    pki(&dir, &format!("revoke {}", path("a"))).unwrap();
    let first = list();
    assert_eq!(
        verdict(&dir, "a", usage(), Some(&first)),
        Err(webpki::Error::CertRevoked)
    );
    assert_eq!(verdict(&dir, "b", usage(), Some(&first)), Ok(()));

    // By number, and again by file.
    let serial = client(&dir, "b").serial().to_uppercase();
    let again = pki(&dir, &format!("revoke 0x{serial} {}", path("a"))).unwrap();
    assert!(again.contains("(was revoked before)"), "{again}");
    assert!(again.contains("2 in all"), "{again}");
    let second = list();
    for name in ["a", "b"] {
        assert_eq!(
            verdict(&dir, name, usage(), Some(&second)),
            Err(webpki::Error::CertRevoked)
        );
    }
    assert_eq!(verdict(&dir, "c", usage(), Some(&second)), Ok(()));

    let authority = load(dir.path()).unwrap();
    let (first, second) = (
        authority.read_revocation_list(&first).unwrap(),
        authority.read_revocation_list(&second).unwrap(),
    );
    assert_eq!((first.number, second.number), (1, 2));
    assert_eq!(second.validity.not_after, time(NOW + 30 * DAY));
    assert_eq!(second.revoked[0], first.revoked[0]);
}

#[test]
fn only_what_this_ca_issued_can_be_revoked_and_only_its_list_be_kept() {
    let (dir, other) = (with_ca(), with_ca());
    pki(&other, "issue client client").unwrap();
    let foreign = other.path().join("client/tls.crt").display().to_string();
    let refusal = pki(&dir, &format!("revoke {foreign}")).unwrap_err();
    assert!(refusal.contains("was not issued by this CA"), "{refusal}");
    let own = dir.path().join("ca.crt").display().to_string();
    let refusal = pki(&dir, &format!("revoke {own}")).unwrap_err();
    assert!(refusal.contains("cannot revoke itself"), "{refusal}");
    let refusal = pki(&dir, "revoke nowhere.crt").unwrap_err();
    assert!(refusal.contains("not a serial number, and"), "{refusal}");
    assert!(!dir.path().join("ca.crl").exists());

    pki(&other, "revoke 5f").unwrap();
    fs::copy(other.path().join("ca.crl"), dir.path().join("ca.crl")).unwrap();
    let refusal = pki(&dir, "revoke 5f").unwrap_err();
    assert!(refusal.contains("ca.crl: move it away"), "{refusal}");
}

#[test]
fn of_many_revocations_at_once_none_is_lost() {
    const MANY: usize = 16;
    let dir = with_ca();
    let start = Barrier::new(MANY);
    std::thread::scope(|scope| {
        for number in 0..MANY {
            let (dir, start) = (&dir, &start);
            scope.spawn(move || {
                start.wait();
                pki(dir, &format!("revoke {:x}", 0x5f00 + number)).unwrap();
            });
        }
    });
    let list = list(&dir);
    assert_eq!((list.number, list.revoked.len()), (MANY as u64, MANY));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "no lock and no temporary file: {left:?}");
}

#[test]
fn a_list_that_revokes_nobody_is_one() {
    let dir = with_ca();
    let account = pki(&dir, "revoke --renew").unwrap();
    assert!(account.contains("Made the list anew"), "{account}");
    assert!(account.contains("0 in all"), "{account}");
    assert!(account.contains("client_crl = ["), "{account}");
    assert!(account.contains("pki revoke --renew"), "{account}");
    assert_eq!(list(&dir).revoked, []);
    let path = dir.path().join("ca.crl");
    let mut openssl = Command::new("openssl");
    let openssl = openssl.args(["crl", "-noout", "-text", "-in"]).arg(&path);
    let said = String::from_utf8(openssl.output().unwrap().stdout).unwrap();
    assert!(said.contains("No Revoked Certificates."), "{said}");
    // As RFC 5280 section 5.1.2.6 wants it, and as peers read it.
    pki(&dir, "issue client a").unwrap();
    let pem = fs::read(&path).unwrap();
    assert_eq!(
        verdict(&dir, "a", KeyUsage::client_auth(), Some(&pem)),
        Ok(())
    );

    pki(&dir, "revoke 5f").unwrap();
    pki(&dir, "revoke --renew --days 7").unwrap();
    let list = list(&dir);
    assert_eq!(
        (list.number, list.revoked.len()),
        (3, 1),
        "it stays revoked"
    );
    assert_eq!(list.validity.not_after, time(NOW + 7 * DAY));
    for words in ["revoke", "revoke --renew 5f"] {
        assert!(pki(&dir, words).is_err(), "{words}");
    }
}

#[test]
fn what_is_overwritten_can_still_be_revoked() {
    let dir = with_ca();
    pki(&dir, "issue client a b").unwrap();
    let serial = client(&dir, "a").serial().to_owned();
    // A file that is none of this CA's is nothing to revoke.
    fs::write(dir.path().join("b/tls.crt"), "mine").unwrap();
    let account = pki(&dir, "issue client a b --force").unwrap();
    let command = format!("portcullis pki revoke {serial} --dir ");
    assert_eq!(account.matches("portcullis pki revoke").count(), 1);
    assert!(account.contains(&command), "{command} in {account}");
    let first = pki(&dir, "issue client c").unwrap();
    assert!(!first.contains("revoke"), "{first}");
}
