//! `portcullis pki revoke`: serial numbers or certificates in, a longer revocation list out.
//!
//! Its own file because a list is read, added to and written again, and no revocation may be lost on the way: neither to
//! another that happens at the same time, nor to a crash, nor with the certificate that one would have named.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustls::pki_types::UnixTime;

use super::arguments::days;
use super::authority::{Authority, Revocations};
use super::files::{self, Existing, NewFile};
use super::lifetime::lifetime;
use super::serial::Serial;
use super::{account, load};
use crate::file::{self, MOST_CERTIFICATES, MOST_LIST, Unreadable};

/// Revokes certificates: writes the revocation list DIR/ca.crl (PEM)
///
/// Names each certificate by its serial number or by its file. What an existing ca.crl revokes stays revoked. The list
/// replaces the old one whole, so a gate that watches it (--client-crl DIR/ca.crl) never reads half of it.
///
/// A list goes stale: make it anew within --days, with --renew. That also makes the first list, which revokes nobody yet:
/// a gate that has one from the start learns of a revocation by a file alone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Example:
  portcullis pki revoke certs/client/tls.crt
  portcullis pki revoke 5f:0c:9a:12 --days 7
  portcullis pki revoke --renew")]
pub(super) struct Revoke {
    /// A serial number (hexadecimal, with or without colons or 0x) or the file of a certificate (PEM)
    #[arg(value_name = "SERIAL-or-FILE", required_unless_present = "renew")]
    certificates: Vec<String>,
    /// Revokes nobody more: makes the list anew, or an empty one
    #[arg(long, conflicts_with = "certificates")]
    renew: bool,
    /// The folder of the PKI, with ca.crt and ca.key
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// In how many days the list goes stale
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = days())]
    days: u32,
}

impl Revoke {
    pub(super) fn run(self, now: UnixTime) -> anyhow::Result<String> {
        // Until the list is written: whoever revokes at the same time adds to the one that is read here, or this to his.
        let _lock = files::lock(&self.dir)?;
        let authority = load(&self.dir)?;
        let path = self.dir.join("ca.crl");
        let before = match file::read(&path, MOST_LIST) {
            Ok(pem) => Some(
                authority
                    .read_revocation_list(&pem)
                    .with_context(|| format!("{}: move it away", path.display()))?,
            ),
            Err(Unreadable::Missing(_)) => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let (number, mut revoked) =
            before.map_or((0, Vec::new()), |list| (list.number, list.revoked));

        let mut done = String::new();
        for text in &self.certificates {
            let serial = serial_of(text, &authority)?;
            if revoked.iter().any(|(other, _)| *other == serial) {
                writeln!(done, "  {serial} (was revoked before)")?;
            } else {
                writeln!(done, "  {serial}")?;
                revoked.push((serial, now));
            }
        }
        let list = Revocations {
            number: number
                .checked_add(1)
                .with_context(|| format!("{}: no number is left for another", path.display()))?,
            validity: lifetime(now, self.days),
            revoked,
        };
        let pem = authority.revocation_list(&list)?;
        // Replacing it is the job: all that the old list says is in the new one.
        files::write_all(&[NewFile::public(path.clone(), &pem)], Existing::Replace)?;

        let mut account = match self.renew {
            true => format!("Made the list anew.\n\n  {}\n", path.display()),
            false => format!("Revoked.\n\n{done}\n  {}\n", path.display()),
        };
        writeln!(account, "    number   {}", list.number)?;
        writeln!(account, "    revoked  {} in all", list.revoked.len())?;
        writeln!(
            account,
            "    stale    {} (in {} days)",
            account::date(list.validity.not_after),
            self.days
        )?;
        let (path, dir) = (path.display(), self.dir.display());
        writeln!(
            account,
            "\nGive it to the gate: --client-crl {path}, or in its file under [tls]\n  client_crl = [\"{path}\"]\n\
             It wants a list of every CA in its bundle then, and refuses clients whose list is\n\
             stale. Make it anew in time: portcullis pki revoke --renew --dir {dir}"
        )?;
        Ok(account)
    }
}

/// The certificate that an argument of `pki revoke` means. A text that is a number means the number, even if there is a
/// file of that name: `./cafe` means the file.
fn serial_of(text: &str, authority: &Authority) -> anyhow::Result<Serial> {
    if let Ok(serial) = text.parse() {
        return Ok(serial);
    }
    let path = Path::new(text);
    let pem = file::read_once(path, MOST_CERTIFICATES).with_context(|| {
        format!("SERIAL-or-FILE: {text:?}: not a serial number, and not a file that can be read")
    })?;
    authority
        .serial_of(&pem)
        .with_context(|| format!("SERIAL-or-FILE: {text:?}"))
}

/// The serial number of the certificate in this folder, if it is this CA's: to be asked before it is overwritten, for
/// afterwards nobody knows what to revoke.
pub(super) fn replaced(folder: &Path, authority: &Authority) -> Option<Serial> {
    let path = folder.join("tls.crt");
    let pem = file::read(&path, MOST_CERTIFICATES).ok()?;
    authority.serial_of(&pem).ok()
}
