//! What a revocation list is to the bundle: its own, nobody's yet, or none that it can be.
//!
//! Its own file because this is asked when lists are read, to tell the operator; no verdict about a client depends on it.

use rustls::pki_types::UnixTime;

use super::bundle::Entry;
use super::list::List;
use super::signature::Check;
use super::trust::Trust;
use super::words;

/// What a list is to the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A CA that vouches signed it.
    Counts,
    /// No certificate of its issuer was met: it may be an intermediate CA's, which clients send, or a CA's that is gone.
    Waits,
    /// As [`Waits`](Self::Waits); every CA of its issuer's name in the bundle has a list of its own.
    WaitsBesideNamesake {
        /// Their name.
        ca: String,
    },
    /// A CA of the bundle signed it that vouches for nobody now.
    OfLeftOut {
        /// That CA.
        ca: String,
    },
    /// It cannot be what it says.
    Bad(BadStanding),
}

/// Why a list that names a CA of the bundle does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStanding {
    /// The signature is wrong.
    #[error(
        "it names the CA {ca:?} as its issuer, and that CA did not sign it; fetch or issue it again"
    )]
    NotSigned {
        /// That CA.
        ca: String,
    },
    /// Nobody can tell.
    #[error(
        "it is signed with {algorithm}, which does not count here; let the CA {ca:?} sign it with SHA-256 or better"
    )]
    Algorithm {
        /// That CA.
        ca: String,
        /// How it is signed.
        algorithm: String,
    },
    /// RFC 5280 section 6.3.3 (f).
    #[error(
        "the CA {ca:?} signed it and may not sign lists (keyUsage without cRLSign); issue the CA's certificate again with \
         that usage, and put it into --client-ca"
    )]
    MayNotSign {
        /// That CA.
        ca: String,
    },
    /// The right key under another name.
    #[error(
        "the CA {ca:?} signed it, but it writes the name of its issuer in another way than that CA's certificate (string \
         type, case or spaces), and only the same bytes are the same name (RFC 5280 section 7.1); let the CA issue \
         it with its own name"
    )]
    OtherEncoding {
        /// That CA.
        ca: String,
    },
}

impl Trust {
    /// What a list of this trust is to its bundle now.
    pub fn standing(&self, list: &List, now: UnixTime) -> Standing {
        let bundle = self.bundle();
        let named: Vec<&Entry> = bundle
            .named(list.issuer())
            .iter()
            .filter_map(|place| bundle.get(*place))
            .collect();
        let signed = |entry: &&Entry| list.is_by(entry.certificate().key) == Check::Good;
        let signers: Vec<&Entry> = named.iter().copied().filter(signed).collect();
        let vouches = |entry: &&Entry| self.vouches(entry, now);
        let ca = |entry: &Entry| entry.name().to_owned();
        if let Some(first) = signers.first() {
            let Some(signer) = signers.iter().copied().find(vouches) else {
                return Standing::OfLeftOut { ca: ca(first) };
            };
            return match signers.iter().any(|entry| entry.signs_lists()) {
                true => Standing::Counts,
                false => Standing::Bad(BadStanding::MayNotSign { ca: ca(signer) }),
            };
        }
        if let Some(entry) = named.iter().copied().find(vouches) {
            let ca = ca(entry);
            let has_own = |entry: &Entry| self.has_list(entry);
            if list.is_by(entry.certificate().key) == Check::Unsupported {
                let algorithm = words::signature(list.algorithm());
                return Standing::Bad(BadStanding::Algorithm { ca, algorithm });
            }
            return match named.iter().copied().filter(vouches).all(has_own) {
                true => Standing::WaitsBesideNamesake { ca },
                false => Standing::Bad(BadStanding::NotSigned { ca }),
            };
        }
        match bundle.almost_named(list.issuer()) {
            Some(entry) if list.is_by(entry.certificate().key) == Check::Good => {
                Standing::Bad(BadStanding::OtherEncoding { ca: ca(entry) })
            }
            Some(_) | None => Standing::Waits,
        }
    }

    /// True if a list of this trust speaks for somebody now.
    pub fn counts(&self, list: &List, now: UnixTime) -> bool {
        match self.standing(list, now) {
            Standing::Counts => true,
            // Somebody sent the certificate of its issuer.
            Standing::Waits | Standing::WaitsBesideNamesake { .. } => list.is_met(),
            Standing::OfLeftOut { .. } | Standing::Bad(_) => false,
        }
    }

    /// True if a list is signed with the key of this entry.
    pub fn has_list(&self, entry: &Entry) -> bool {
        let certificate = entry.certificate();
        let lists = self.lists().of(certificate.subject);
        lists
            .into_iter()
            .any(|list| list.is_by(certificate.key) == Check::Good)
    }
}
