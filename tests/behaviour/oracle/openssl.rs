//! Asks `openssl verify` about one line.
//!
//! openssl does not search: it takes for an issuer whoever bears the name and the key identifier, and never comes back to
//! another. So it is given a line at a time, with nothing beside it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Question;
use super::pki::{Case, Cert, Keys, List, Place};
use crate::support::craft::{DAY, NOW, pem};

/// What openssl says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) good: bool,
    /// The numbers of all that it found wrong; 23 is revoked.
    pub(super) errors: Vec<u32>,
    pub(super) said: String,
}

pub(super) const REVOKED: u32 = 23;

/// Only the anchor's own list has this name.
const OF_ANCHOR: Place = Place::Url(77);

/// openssl wants to know that the anchor itself is not revoked as well, which RFC 5280 does not ask. So it gets a list
/// that says so and speaks for nobody else.
fn own_list(anchor: &Cert) -> List {
    let mut list = List::of(anchor.issuer, anchor.key);
    (list.from, list.to, list.key_id) = (0, Some(400 * DAY), None);
    list.scope.at = vec![OF_ANCHOR];
    list
}

/// Asks; `purpose` as in `-purpose`. The folder is this thread's own.
pub(super) fn ask(question: &Question<'_>, purpose: &str, keys: &Keys, folder: &Path) -> Answer {
    let Case { lists, .. } = question.case;
    let (client, issuers) = question.line.split_first().expect("a line has a client");
    let (anchor, issuers) = issuers.split_last().expect("a line has an anchor");
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).expect("the folder can be written to");
    };
    let certificate = |one: &Cert| pem("CERTIFICATE", one.der(keys));
    write("client.pem", certificate(client));
    write(
        "anchor.pem",
        pem("CERTIFICATE", anchor.der_with(keys, OF_ANCHOR)),
    );
    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(folder)
        .env("OPENSSL_CONF", "/dev/null")
        .args(["verify", "-attime", &NOW.to_string(), "-purpose", purpose])
        .args(["-partial_chain", "-trusted", "anchor.pem"])
        .stdin(Stdio::null());
    if !issuers.is_empty() {
        write(
            "issuers.pem",
            issuers.iter().map(|one| certificate(one)).collect(),
        );
        openssl.args(["-untrusted", "issuers.pem"]);
    }
    if !lists.is_empty() {
        let all = [own_list(anchor)];
        let all = all
            .iter()
            .chain(lists)
            .map(|list| pem("X509 CRL", list.der(keys)));
        write("lists.pem", all.collect());
        openssl.args(["-crl_check_all", "-extended_crl", "-CRLfile", "lists.pem"]);
    }
    let output = openssl.arg("client.pem").output().expect("openssl starts");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let errors: Vec<u32> = said
        .lines()
        .filter_map(|line| line.strip_prefix("error ")?.split(' ').next()?.parse().ok())
        .collect();
    let good = output.status.success();
    assert!(
        good && said.contains("client.pem: OK") || !good && !errors.is_empty(),
        "openssl did not judge: {said}"
    );
    Answer { good, errors, said }
}
