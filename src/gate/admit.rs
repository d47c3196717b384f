//! The step between "TLS says yes" and "may reach the target": the judge is asked again, a place is taken, and the
//! proof of both is an [`Admitted`].

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;

use super::limits::{AdmittedSlot, Limits, OverLimit};
use crate::event::{Ended, Outcome};
use crate::identity::Client;
use crate::policy::{self, Admission, NotAdmitted};
use crate::trust::{RouteTrust, Verified};

/// How often a live session compares its certificate with the clock, which may be set while it waits.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// A client that may reach the target now. Nothing can be dialled without one.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) client: Arc<Client>,
    pub(super) admission: Admission,
    /// The last second in which its whole chain is good.
    not_after: UnixTime,
    _slot: AdmittedSlot,
}

/// Why a client with a finished handshake is not admitted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("the certificate, or one that vouches for it, is not valid at this time")]
    OutOfDate,
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
}

impl Error {
    pub(super) fn ended(&self) -> Ended {
        let outcome = match self {
            Self::NotAdmitted(_) | Self::OutOfDate => Outcome::NotAdmitted,
            Self::OverLimit(_) => Outcome::OverLimit,
        };
        Ended::new(outcome, self.to_string())
    }
}

/// Asks the judge about a verified client. The verifier asked the same function during the handshake, so that the
/// client heard the right alert; this answer is the one that counts.
pub(super) fn admit(
    verified: Verified,
    route: &RouteTrust,
    limits: &Limits,
) -> Result<Admitted, Error> {
    let admission = policy::judge(&route.allow, &verified.client)?;
    if !verified.validity.covers(UnixTime::now()) {
        return Err(Error::OutOfDate);
    }
    let slot = limits.admit()?;
    Ok(Admitted {
        client: verified.client,
        admission,
        not_after: verified.validity.not_after,
        _slot: slot,
    })
}

impl Admitted {
    /// Returns once the client may no longer stay, with why. Cancel safe.
    pub(super) async fn until_inadmissible(&self) -> &'static str {
        loop {
            let left = self
                .not_after
                .as_secs()
                .saturating_add(1)
                .saturating_sub(UnixTime::now().as_secs());
            if left == 0 {
                return "the certificate, or one that vouches for it, expired";
            }
            tokio::time::sleep(Duration::from_secs(left).min(CLOCK_CHECK)).await;
        }
    }
}
