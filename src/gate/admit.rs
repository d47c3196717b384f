//! The step between "TLS says yes" and "may reach the target": the judge is asked again, a place is taken, and the
//! proof of both is an [`Admitted`].

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::limits::{AdmittedSlot, Limits, OverLimit};
use crate::event::{Ended, RefusalKind};
use crate::identity::Client;
use crate::judge::{Refusal, Verified};
use crate::policy::Admission;
use crate::trust::{Generation, RouteTrust};

/// How often a live session compares its certificate with the clock, which may be set while it waits.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// Whose turn it is to judge a live session. A change of trust wakes all of them at once; one after the other, each for
/// itself, keeps nobody else's bytes waiting for thousands.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// As many at a time as there are threads to judge on.
    pub(crate) fn new(threads: NonZeroUsize) -> Self {
        Self(Arc::new(Semaphore::new(threads.get())))
    }

    /// Returns when it is the caller's turn, for as long as the value lives. Cancel safe.
    async fn take(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it; if somebody did, everybody would have a turn.
        self.0.acquire().await.ok()
    }
}

/// A client that may reach the target now. Nothing can be dialled without one.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) admission: Admission,
    verified: Arc<Verified>,
    _slot: AdmittedSlot,
}

/// Why a client with a finished handshake may not pass, or not any longer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the source lies in no network of --allow-from any longer")]
    Source,
    #[error("there is no route to judge the client by")]
    Nothing,
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
}

impl Error {
    pub(super) fn ended(&self) -> Ended {
        let kind = match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Source => RefusalKind::Source,
            Self::Nothing => RefusalKind::GateFault,
            Self::OverLimit(_) => RefusalKind::OverLimit,
        };
        Ended::refused(kind, self.to_string())
    }
}

/// Judges a client that finished its handshake by the trust that holds now, and takes a place for it. The verifier
/// asked the same question in the handshake, so that the client heard the right alert; this answer is the one that
/// counts, and a change of trust during the handshake is in it.
pub(super) fn admit(
    verified: &Verified,
    trust: Option<&RouteTrust>,
    source: IpAddr,
    limits: &Limits,
) -> Result<Admitted, Error> {
    let (verified, admission) = judge(verified, trust, source)?;
    let slot = limits.admit()?;
    Ok(Admitted {
        admission,
        verified,
        _slot: slot,
    })
}

/// The whole question, for a newcomer and for a live session.
fn judge(
    verified: &Verified,
    trust: Option<&RouteTrust>,
    source: IpAddr,
) -> Result<(Arc<Verified>, Admission), Error> {
    let trust = trust.ok_or(Error::Nothing)?;
    if !trust.admits_source(source) {
        return Err(Error::Source);
    }
    Ok(trust
        .trust
        .admit_again(&trust.allow, verified, UnixTime::now())?)
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
        turns: &Turns,
    ) -> String {
        let mut not_after = self.verified.validity.not_after;
        let mut published = true;
        loop {
            let left = not_after
                .as_secs()
                .saturating_add(1)
                .saturating_sub(UnixTime::now().as_secs());
            tokio::select! {
                // If nobody publishes any more, the newest generation stands, and the clock still runs.
                changed = generations.changed(), if published => if changed.is_err() {
                    published = false;
                    continue;
                },
                () = tokio::time::sleep(Duration::from_secs(left).min(CLOCK_CHECK)) => {
                    if UnixTime::now() <= not_after {
                        continue;
                    }
                }
            }
            let _turn = turns.take().await;
            let generation = Arc::clone(&generations.borrow_and_update());
            match judge(&self.verified, generation.route(route), source) {
                Ok((verified, _)) => not_after = verified.validity.not_after,
                Err(error) => return error.to_string(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use rcgen::ExtendedKeyUsagePurpose;
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::Place;
    use crate::judge::Chain;
    use crate::trust::load::{Content, Files};
    use crate::trust::tests::{Ca, config, leaf_params};
    use crate::trust::validate::validate;

    #[tokio::test]
    async fn a_certificate_that_ends_ends_the_session_though_nobody_publishes_any_more() {
        let (ca, server) = (Ca::new("clients"), Ca::new("servers").server());
        let content = |text: &str| {
            let bytes = Zeroizing::new(text.as_bytes().to_vec());
            Content::new(Place::Flag("--file"), PathBuf::from("file"), bytes)
        };
        let files = Files {
            cert: content(&server.cert),
            key: content(&server.key),
            client_ca: vec![content(&ca.pem())],
            client_crl: Vec::new(),
            atomic: true,
        };
        let config = config(&[]);
        let validated = validate(&config, &files, None, SystemTime::now()).unwrap();
        let (published, mut generations) = watch::channel(Arc::new(validated.generation));
        let mut params = leaf_params("client", ExtendedKeyUsagePurpose::ClientAuth);
        params.not_after = (SystemTime::now() + Duration::from_secs(2)).into();
        let client = ca.issue(&params).der;
        let source = IpAddr::from([127, 0, 0, 1]);
        let generation = Arc::clone(&generations.borrow());
        let route = generation.route(0).unwrap();
        let now = UnixTime::now();
        let chain = Chain::shown(&client, &[]).unwrap();
        let (verified, _) = route.trust.admit(&route.allow, &chain, now).unwrap();
        let limits = Limits::new(&config.limits);
        let admitted = admit(&verified, Some(route), source, &limits).unwrap();
        let turns = Turns::new(NonZeroUsize::MIN);
        drop(published);
        let ended = admitted.until_inadmissible(0, source, &mut generations, &turns);
        let why = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert!(why.unwrap().contains("expired"));
    }
}
