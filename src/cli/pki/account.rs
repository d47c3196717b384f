//! What was made in, lines for people out.
//!
//! Its own file so that the three commands tell the same facts in the same words. Names are read back from the
//! certificate itself, so the account shows what a gate will see. Does no IO.

use std::fmt::{self, Write as _};
use std::path::Path;

use rustls::pki_types::UnixTime;

use super::authority::Issued;
use super::lifetime::system_time;
use super::serial::Serial;
use crate::identity::{Client, Validity, printable};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The lines about one issued certificate.
pub(super) fn issued(to: &mut String, folder: &Path, one: &Issued, now: UnixTime) -> fmt::Result {
    let folder = folder.display();
    writeln!(to, "\n  {folder}/tls.crt")?;
    writeln!(to, "  {folder}/tls.key (mode 0600)")?;
    writeln!(to, "  {folder}/ca.crt")?;
    // A certificate that was made a moment ago can be read; if not, there is nothing to tell of it.
    if let Ok(client) = Client::from_der(&one.certificate) {
        let units = client.organizational_units().iter();
        let mut parts: Vec<String> = units
            .map(|unit| format!("OU={}", printable(unit)))
            .collect();
        let common_names = client.common_names().iter();
        parts.extend(common_names.map(|name| format!("CN={}", printable(name))));
        writeln!(to, "    subject  {}", parts.join(", "))?;
        for (index, name) in client.display_names().iter().enumerate() {
            let label = if index == 0 { "names" } else { "" };
            writeln!(to, "    {label:8} {name}")?;
        }
    }
    writeln!(to, "    serial   {}", one.serial)?;
    expiry(to, one.validity, now)
}

/// The lines about certificates whose files are others now, and which are as good as before.
pub(super) fn replaced(to: &mut String, serials: &[Serial], dir: &Path) -> fmt::Result {
    if serials.is_empty() {
        return Ok(());
    }
    to.push_str(
        "\nReplaced files of certificates that stay good until they expire or are revoked:\n",
    );
    for serial in serials {
        writeln!(
            to,
            "  portcullis pki revoke {serial} --dir {}",
            dir.display()
        )?;
    }
    Ok(())
}

/// The line about the end of a certificate.
pub(super) fn expiry(to: &mut String, validity: Validity, now: UnixTime) -> fmt::Result {
    let left = validity.not_after.as_secs().saturating_sub(now.as_secs());
    let days = left / DAY_SECONDS;
    let unit = if days == 1 { "day" } else { "days" };
    writeln!(
        to,
        "    expires  {} (in {days} {unit})",
        date(validity.not_after)
    )
}

/// A time as people and logs write it.
pub(super) fn date(time: UnixTime) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(system_time(time))
}
