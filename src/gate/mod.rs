//! One connection's life, top to bottom: accepted, authenticated, admitted, connected, relayed, recorded.
//!
//! Each step takes the proof of the one before: there is no dialling without an [`admit::Admitted`], none of those
//! without a [`handshake::Authenticated`], and none of those without what a verifier found. Cancelling at any point
//! lets nobody in, resets the target and writes the record. This module never reads a file.

mod accept;
mod admit;
mod connect;
mod ending;
mod handshake;
mod limits;
mod proxy;
mod pump;
mod records;
mod sessions;
#[cfg(test)]
mod tests;
mod tls_error;

use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

use self::admit::Admitted;
use self::connect::TargetStream;
use self::ending::End;
use self::handshake::{Authenticated, TlsFacts};
use self::pump::Pump;
use self::records::Records;
use self::sessions::Listed;
use crate::config::{ProxyProtocol, Route, Timeouts};
use crate::event::{Ended, Outcome, RefusalKind};
use crate::lifecycle::{Lifecycle, Phase};
use crate::places::Place;
use crate::telemetry::{Record, RouteMetrics, Session, Traffic};
use crate::trust::{Generation, RouteTrust};

pub(crate) use self::accept::{Listener, accept};
pub(crate) use self::admit::Turns;
pub(crate) use self::limits::Limits;
pub use self::sessions::Sessions;
pub(crate) use self::tls_error::alert_name;

/// What the connections of one route share.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) route: Route,
    /// The route's place in a generation.
    pub(crate) index: usize,
    /// Who may pass, now and whenever that changes.
    pub(crate) generations: watch::Receiver<Arc<Generation>>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) turns: Turns,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Arc<RouteMetrics>,
    pub(crate) lifecycle: Lifecycle,
}

impl Gate {
    /// Serves one accepted connection to its end and writes its record.
    async fn connection(
        self: Arc<Self>,
        mut socket: TcpStream,
        source: SocketAddr,
        slot: Place,
        mut record: Record,
    ) {
        let mut slot = Some(slot);
        let over = self
            .serve(&mut socket, source, &mut slot, &mut record)
            .await;
        // The verdict stands: recorded first, whatever the client does while its socket lingers.
        record.close(&over.ended);
        if over.lingers {
            tokio::select! {
                () = gives_way(&mut slot) => {}
                () = Box::pin(handshake::linger(&mut socket)) => {}
            }
        }
    }

    /// `slot` is held until the client is admitted.
    async fn serve(
        &self,
        socket: &mut TcpStream,
        source: SocketAddr,
        slot: &mut Option<Place>,
        record: &mut Record,
    ) -> Over {
        // Boxed, so that what the opening takes is given back before the long wait that follows.
        let opened = match Box::pin(self.open(socket, source, slot, record)).await {
            Ok(opened) => opened,
            Err(over) => return over,
        };
        let Opened {
            records,
            admitted,
            mut generations,
            session,
            _listed,
        } = opened;
        let over = {
            let cut_short = pin!(self.cut_short(&admitted, source, &mut generations));
            self.lend(socket, records, &admitted, &session, cut_short)
                .await
        };
        over.holding(admitted)
    }

    /// From a socket to an admitted client.
    async fn open(
        &self,
        socket: &mut TcpStream,
        source: SocketAddr,
        slot: &mut Option<Place>,
        record: &mut Record,
    ) -> Result<Opened, Over> {
        let mut generations = self.generations.clone();
        let generation = Arc::clone(&generations.borrow());
        record.judged_by(generation.number);
        let Some(trust) = generation.route(self.index) else {
            let why = "the route has no trust to judge by";
            return Err(Over::dropped(Ended::refused(RefusalKind::GateFault, why)));
        };
        let Authenticated {
            records,
            verified,
            facts,
        } = self
            .authenticate(socket, source.ip(), trust, slot, record)
            .await?;
        record.verified(Arc::clone(&verified.client));
        // The newest generation, marked as seen: whatever is published from here on, the session will see.
        let newest = Arc::clone(&generations.borrow_and_update());
        record.judged_by(newest.number);
        let trust = newest.route(self.index);
        let admitted = admit::admit(&verified, trust, source.ip(), &self.limits)
            .map_err(|error| Over::lingering(error.ended()))?;
        *slot = None;
        let session = Arc::new(Session {
            route: Arc::clone(&self.route.name),
            source,
            since: std::time::SystemTime::now(),
            client: Arc::clone(admitted.client()),
            admission: admitted.admission.clone(),
            tls_version: facts.version,
            cipher: facts.cipher,
            group: facts.group,
            traffic: Traffic::new(Arc::clone(&self.metrics)),
        });
        record.admitted(Arc::clone(&session));
        let _listed = self.sessions.enter(Arc::clone(&session));
        Ok(Opened {
            records,
            admitted,
            generations,
            session,
            _listed,
        })
    }

    /// Bounds the handshake in time and number.
    async fn authenticate(
        &self,
        socket: &mut TcpStream,
        source: IpAddr,
        trust: &RouteTrust,
        slot: &mut Option<Place>,
        record: &mut Record,
    ) -> Result<Authenticated, Over> {
        let deadline = record.started() + self.timeouts.handshake;
        let long = &self.limits.long_handshakes;
        let result = tokio::select! {
            biased;
            () = self.lifecycle.reached(Phase::Forced) => return Err(Over::dropped(stopped())),
            () = gives_way(slot) => {
                let why = "gave way to a newer connection: as many handshakes are unfinished as --max-handshakes lets in, and no \
                           source (IPv6: no /64) has more of them than this one";
                return Err(Over::dropped(Ended::refused(RefusalKind::OverLimit, why)));
            }
            result = timeout_at(deadline.into(), handshake::run(socket, source, trust, long)) => result,
        };
        let Ok(result) = result else {
            let reason = format!(
                "the handshake was not over after {:?}",
                self.timeouts.handshake
            );
            return Err(Over::dropped(Ended::refused(RefusalKind::Timeout, reason)));
        };
        self.metrics.handshake(record.started().elapsed());
        result.map_err(|error| {
            let ended = error.ended();
            if let handshake::Error::Refused(refused) = error {
                record.refused(refused);
            }
            Over::lingering(ended)
        })
    }

    /// Lends the target to an admitted client until the session is over or has to be.
    async fn lend(
        &self,
        socket: &mut TcpStream,
        records: Records,
        admitted: &Admitted,
        session: &Session,
        mut cut_short: Pin<&mut impl Future<Output = Ended>>,
    ) -> Over {
        let dialled = tokio::select! {
            biased;
            ended = &mut cut_short => Err(ended),
            // A client that finished may wait for an answer; one that was reset does not.
            _ = socket.ready(Interest::ERROR) => Err(Ended::new(
                Outcome::IoError,
                "the client reset the connection before the target was reached",
            )),
            target = Box::pin(self.connect(admitted, socket, session)) => target,
        };
        let target = match dialled {
            Ok(target) => target,
            Err(ended) => return Over::lingering(ended),
        };
        let mut pump = Pump::new(socket, target, records, &session.traffic);
        let end = tokio::select! {
            biased;
            ended = cut_short => End::Cut(ended),
            end = pump.run(self.timeouts.idle) => end,
        };
        let (target, client_sends) = pump.into_target();
        match end {
            End::Clean(ended) => {
                target.finish();
                if client_sends {
                    Over::lingering(ended)
                } else {
                    Over::dropped(ended)
                }
            }
            End::Cut(ended) => {
                Box::pin(target.reset()).await;
                Over::lingering(ended)
            }
        }
    }

    async fn connect(
        &self,
        admitted: &Admitted,
        socket: &TcpStream,
        session: &Session,
    ) -> Result<TargetStream, Ended> {
        let began = tokio::time::Instant::now();
        let unreachable = |error: String| Ended::new(Outcome::TargetUnreachable, error);
        let mut target = connect::dial(admitted, &self.route.target, self.timeouts.connect)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        self.metrics.target_connected(began.elapsed());
        if self.route.proxy_protocol == ProxyProtocol::V2 {
            let facts = TlsFacts {
                version: session.tls_version,
                cipher: session.cipher,
                group: session.group,
            };
            let send = async {
                let local = canonical(socket.local_addr()?);
                target
                    .write_all(&proxy::header(
                        session.source,
                        local,
                        &facts,
                        admitted.client(),
                    )?)
                    .await
            };
            match timeout_at(began + self.timeouts.connect, send).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return Err(unreachable(format!(
                        "the target took no PROXY header: {error}"
                    )));
                }
                Err(_) => {
                    return Err(unreachable(
                        "the target took no PROXY header in time".to_owned(),
                    ));
                }
            }
        }
        Ok(target)
    }

    /// Returns once an admitted client has to go, whatever its session is about; the first cause in this order wins.
    async fn cut_short(
        &self,
        admitted: &Admitted,
        source: SocketAddr,
        generations: &mut watch::Receiver<Arc<Generation>>,
    ) -> Ended {
        let inadmissible =
            admitted.until_inadmissible(self.index, source.ip(), generations, &self.turns);
        tokio::select! {
            biased;
            () = self.lifecycle.reached(Phase::Forced) => stopped(),
            why = inadmissible => Ended::new(Outcome::Evicted, why),
            () = session_limit(self.timeouts.session) => {
                Ended::new(Outcome::SessionLimit, "the session was as old as --max-session lets it become")
            }
        }
    }
}

/// An admitted client, and what its session takes.
struct Opened {
    records: Records,
    admitted: Admitted,
    generations: watch::Receiver<Arc<Generation>>,
    session: Arc<Session>,
    _listed: Listed,
}

/// How a connection ended, and how its socket is closed.
struct Over {
    ended: Ended,
    /// The client gets time to read what it was told, or that it was cut off.
    lingers: bool,
    /// An admitted client's place, so that a lingering socket is still counted.
    _held: Option<Admitted>,
}

impl Over {
    /// The socket is closed at once: the client has nothing more to say, or was told nothing.
    fn dropped(ended: Ended) -> Self {
        Self {
            ended,
            lingers: false,
            _held: None,
        }
    }

    fn lingering(ended: Ended) -> Self {
        Self {
            ended,
            lingers: true,
            _held: None,
        }
    }

    fn holding(self, admitted: Admitted) -> Self {
        Self {
            _held: Some(admitted),
            ..self
        }
    }
}

/// Returns once a newer connection needs the place; never if none is held. Cancel safe.
async fn gives_way(slot: &mut Option<Place>) {
    match slot {
        Some(place) => place.gives_way().await,
        None => std::future::pending().await,
    }
}

fn stopped() -> Ended {
    Ended::new(Outcome::Drained, "the gate stopped")
}

/// `None` never ends.
async fn session_limit(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// An IPv4 peer of a dual-stack listener as the IPv4 address that rules and people know.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
