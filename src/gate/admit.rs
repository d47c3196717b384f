//! The step between "TLS says yes" and "may reach the target": the judge is asked again, a place is taken, and the
//! proof of both is an [`Admitted`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::sync::watch;

use super::limits::{AdmittedSlot, Limits, OverLimit};
use crate::event::{Ended, Outcome};
use crate::identity::Client;
use crate::policy::{self, Admission, NotAdmitted};
use crate::trust::{Generation, RouteTrust, Verified};

/// How often a live session compares its certificate with the clock, which may be set while it waits.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// A client that may reach the target now. Nothing can be dialled without one.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) admission: Admission,
    verified: Verified,
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
        admission,
        verified,
        _slot: slot,
    })
}

impl Admitted {
    /// Who was admitted.
    pub(super) fn client(&self) -> &Arc<Client> {
        &self.verified.client
    }

    /// Returns once the client may no longer stay, with why: asked at every new generation, and when what vouches for
    /// the client runs out. A session judges itself; nobody keeps a list to kill from. Cancel safe.
    pub(super) async fn until_inadmissible(
        &self,
        route: usize,
        source: IpAddr,
        generations: &mut watch::Receiver<Arc<Generation>>,
    ) -> String {
        let mut not_after = self.verified.validity.not_after;
        loop {
            let left = not_after
                .as_secs()
                .saturating_add(1)
                .saturating_sub(UnixTime::now().as_secs());
            tokio::select! {
                changed = generations.changed() => if changed.is_err() {
                    // Nobody publishes any more: the process is about to end, which is no verdict about the client.
                    return std::future::pending().await;
                },
                () = tokio::time::sleep(Duration::from_secs(left).min(CLOCK_CHECK)) => {
                    if UnixTime::now() <= not_after {
                        continue;
                    }
                }
            }
            let generation = Arc::clone(&generations.borrow_and_update());
            match self.judge(generation.route(route), source) {
                Ok(until) => not_after = until,
                Err(why) => return why,
            }
        }
    }

    /// Until when the client may stay by this trust, or why not at all.
    fn judge(&self, trust: Option<&RouteTrust>, source: IpAddr) -> Result<UnixTime, String> {
        let trust = trust.ok_or("the route is gone")?;
        if !trust.admits_source(source) {
            return Err("the source lies in no network of --allow-from any longer".to_owned());
        }
        let [end_entity, intermediates @ ..] = &*self.verified.chain else {
            return Err("the client has no certificate".to_owned());
        };
        match trust
            .trust
            .admit(&trust.allow, end_entity, intermediates, UnixTime::now())
        {
            Ok((verified, _)) => Ok(verified.validity.not_after),
            Err(refusal) => Err(refusal.to_string()),
        }
    }
}
