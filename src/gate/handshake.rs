//! TLS under way: a socket in, an [`Authenticated`] client or the reason out.
//!
//! Drives rustls' unbuffered server: the alert that explains a refusal is in our hands and is written whole, and what
//! comes behind the client's last handshake message is left for [`Records`]. The caller bounds the time. Never dials,
//! never judges: the verifier inside the TLS configuration did, and what it found is kept.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::gives_way;
use super::records::{self, HEADER, Records};
use super::tls_error;
use crate::event::{Ended, RefusalKind};
use crate::judge::{Asked, Refused, Verified};
use crate::places::{Place, Places};
use crate::trust::RouteTrust;

/// How much of an unfinished handshake is kept: rustls takes messages of up to 64 KiB.
const MOST_INCOMING: usize = 72 * 1024;
/// A handshake that has sent more takes a place among the long ones, of which there are few: a usual chain with RSA keys has
/// 5 KiB, and what a handshake holds is several times what was sent.
const SHORT: usize = 8 * 1024;
const READ: usize = 4096;
/// No type of a record.
const NO_RECORD: u8 = 0xff;
/// After a refusal: how much, and how long, the client may go on sending before its socket is closed.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// A client that finished a full handshake with a certificate which the verifier found admissible.
pub(super) struct Authenticated {
    /// What protects the bytes from here on.
    pub(super) records: Records,
    /// What the verifier found.
    pub(super) verified: Arc<Verified>,
    pub(super) facts: TlsFacts,
}

/// What was negotiated, by the names the IANA registries give.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsFacts {
    pub(super) version: &'static str,
    pub(super) cipher: &'static str,
    pub(super) group: &'static str,
}

/// Why there is no authenticated client. The peer's fault, all of them, but for [`Error::Setup`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The client went away.
    #[error("the client closed the connection before the handshake was over")]
    Closed,
    /// The socket failed.
    #[error("the connection broke during the handshake: {0}")]
    Io(#[source] io::Error),
    /// The client's certificate was refused; it was told by an alert.
    #[error("{}", .0.refusal)]
    Refused(Refused),
    /// TLS itself failed; the client was told by an alert.
    #[error("{0}")]
    Tls(tls_error::Failure),
    /// The client's certificates are many or large, and as many such handshakes are under way as there may be.
    #[error(
        "gave way to a newer handshake of more than {} KiB: too many of them are unfinished, and no source (IPv6: no /64) \
         has more of them than this one",
        SHORT / 1024
    )]
    TooLong,
    /// No verifier vouches for this connection: it must not go on.
    #[error("the handshake ended without a judgement of the client's certificate")]
    Unjudged,
    /// rustls cannot be set up.
    #[error("TLS cannot be set up inside the gate")]
    Setup(#[source] rustls::Error),
}

impl Error {
    pub(super) fn ended(&self) -> Ended {
        let kind = match self {
            Self::Closed | Self::Io(_) => RefusalKind::ClientLeft,
            Self::Refused(refused) => refused.refusal.kind(),
            Self::Tls(failure) => failure.kind(),
            Self::TooLong => RefusalKind::OverLimit,
            Self::Unjudged | Self::Setup(_) => RefusalKind::GateFault,
        };
        Ended::refused(kind, self.to_string())
    }
}

/// Shakes hands. The alert for a client that is refused has been handed to the socket when this returns; the caller
/// lets it [linger]. Cancelling drops the connection without a verdict.
pub(super) async fn run<S>(
    socket: &mut S,
    source: IpAddr,
    route: &RouteTrust,
    long: &Places,
) -> Result<Authenticated, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = UnbufferedServerConnection::new(route.server_config());
    let mut tls = Box::new(tls.map_err(Error::Setup)?);
    let mut asked = Asked::default();
    match negotiate(socket, &mut tls, &mut asked, || long.take(source)).await {
        Ok(behind) => {
            // A resumed session never meets the verifier; nothing here issues tickets, and this makes sure.
            let full = matches!(
                tls.handshake_kind(),
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            );
            match asked {
                Asked::Judged(Ok(verified)) if full => {
                    let facts = TlsFacts::of(&tls);
                    Ok(Authenticated {
                        records: Records::new(tls, behind).map_err(Error::Setup)?,
                        verified,
                        facts,
                    })
                }
                Asked::Judged(Err(refused)) => Err(Error::Refused(refused)),
                Asked::Judged(Ok(_)) | Asked::Shown(_) | Asked::Nothing => Err(Error::Unjudged),
            }
        }
        Err(error) => match (error, asked) {
            (Error::Tls(_), Asked::Judged(Err(refused))) => Err(Error::Refused(refused)),
            (error, _) => Err(error),
        },
    }
}

/// Returns what came in behind the client's last handshake message. `asked` is what the verifier found so far.
async fn negotiate<S>(
    socket: &mut S,
    tls: &mut UnbufferedServerConnection,
    asked: &mut Asked,
    become_long: impl Fn() -> Place,
) -> Result<Vec<u8>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut incoming = Incoming::default();
    let mut outgoing = Vec::new();
    let mut place = None;
    loop {
        let step = asked.lend(|| step(tls, &mut incoming, &mut outgoing));
        if !outgoing.is_empty() && !matches!(step, Ok(Step::Encoded)) {
            let sent = socket.write_all(&outgoing).await;
            outgoing.clear();
            // An alert that cannot be sent changes nothing about why the handshake failed.
            if step.is_ok() {
                sent.map_err(Error::Io)?;
            }
        }
        match step.map_err(Error::Tls)? {
            Step::Encoded | Step::Sent => {}
            Step::Done => return Ok(incoming.bytes),
            Step::NeedsMore if incoming.show_more() => {}
            Step::NeedsMore if incoming.bytes.len() >= MOST_INCOMING => {
                let error = rustls::Error::PeerSentOversizedRecord;
                provoke_alert(tls, &mut incoming, &mut outgoing);
                // As above: why it failed stands.
                let _told = socket.write_all(&outgoing).await;
                return Err(Error::Tls(error.into()));
            }
            Step::NeedsMore => {
                if incoming.received >= SHORT && place.is_none() {
                    place = Some(become_long());
                }
                tokio::select! {
                    biased;
                    () = gives_way(&mut place) => return Err(Error::TooLong),
                    received = receive(socket, &mut incoming) => received?,
                }
                incoming.show_more();
            }
        }
    }
}

/// What the client has sent, shown to rustls one record at a time: so it never opens one that follows the handshake,
/// whose keys are then handed on unused.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// How many have come in all.
    received: usize,
    /// How many of the bytes are shown.
    shown: usize,
    /// How many of those make whole records. The rest is the beginning of one, which tells at once what is no TLS.
    whole: usize,
}

impl Incoming {
    /// Shows the next record, or what there is of it; false if all was shown before.
    fn show_more(&mut self) -> bool {
        let before = self.shown;
        let next = self.bytes.get(self.whole..).unwrap_or_default();
        self.shown = match records::length(next) {
            Some(length) if length <= next.len() => {
                self.whole += length;
                self.whole
            }
            Some(_) | None => self.bytes.len(),
        };
        self.shown > before
    }

    fn shown(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.shown).unwrap_or_default()
    }

    fn discard(&mut self, used: usize) {
        self.bytes.drain(..used.min(self.shown));
        self.shown = self.shown.saturating_sub(used);
        self.whole = self.whole.saturating_sub(used);
    }
}

enum Step {
    /// Something was put into `outgoing`, and more may follow.
    Encoded,
    /// `outgoing` is a whole flight.
    Sent,
    /// The client has to speak.
    NeedsMore,
    /// The handshake is over.
    Done,
}

/// Takes rustls one step further; on an error `outgoing` ends in the alert for the client.
fn step(
    tls: &mut UnbufferedServerConnection,
    incoming: &mut Incoming,
    outgoing: &mut Vec<u8>,
) -> Result<Step, tls_error::Failure> {
    let UnbufferedStatus { discard, state } = tls.process_tls_records(incoming.shown());
    let step = match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(outgoing, |space| data.encode(space));
            Ok(Step::Encoded)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Sent)
        }
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Done),
        Ok(ConnectionState::BlockedHandshake) => Ok(Step::NeedsMore),
        Ok(ConnectionState::PeerClosed) => Err(rustls::Error::AlertReceived(
            rustls::AlertDescription::CloseNotify,
        )),
        // Early data is off and no data is shown; a state that rustls may add one day is no admission.
        Ok(_) => Err(rustls::Error::General(
            "an unexpected state of the handshake".to_owned(),
        )),
        Err(error) => Err(error),
    };
    let step = step.map_err(|error| tls_error::Failure::new(error, incoming.shown()));
    incoming.discard(discard);
    if tls.is_handshaking() && matches!(step, Ok(Step::Done)) {
        return Ok(Step::NeedsMore);
    }
    if let Err(failure) = &step
        && !take_alert(tls, outgoing)
        && !matches!(failure.error, rustls::Error::AlertReceived(_))
    {
        provoke_alert(tls, incoming, outgoing);
    }
    step
}

/// Takes the alert that rustls wants to send; false if there is none. It comes first and alone: asking again would
/// process the offending bytes once more, and so rustls is shown none.
fn take_alert(tls: &mut UnbufferedServerConnection, outgoing: &mut Vec<u8>) -> bool {
    if tls.wants_write()
        && let Ok(ConnectionState::EncodeTlsData(mut alert)) =
            tls.process_tls_records(&mut []).state
    {
        encode(outgoing, |space| alert.encode(space));
        return true;
    }
    false
}

/// For what rustls ends without an alert, as for a message that is too long. Only rustls has the keys of a handshake, and
/// it sends no alert that it is asked for: so it is shown what is no record, wherever it looks next, and answers that
/// with decode_error.
fn provoke_alert(
    tls: &mut UnbufferedServerConnection,
    incoming: &mut Incoming,
    outgoing: &mut Vec<u8>,
) {
    incoming.bytes.fill(NO_RECORD);
    incoming.bytes.extend_from_slice(&[NO_RECORD; HEADER]);
    let refused = tls.process_tls_records(&mut incoming.bytes).state.is_err();
    if refused {
        take_alert(tls, outgoing);
    }
}

/// Appends what rustls wants to send.
fn encode(outgoing: &mut Vec<u8>, mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = outgoing.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data(&mut [])
    {
        outgoing.resize(start + required_size, 0);
        let space = outgoing.get_mut(start..).unwrap_or_default();
        let written = data(space).unwrap_or(0);
        outgoing.truncate(start + written);
    }
}

/// Cancel safe.
async fn receive<S: AsyncRead + Unpin>(
    socket: &mut S,
    incoming: &mut Incoming,
) -> Result<(), Error> {
    incoming.bytes.reserve_exact(READ);
    match socket.read_buf(&mut incoming.bytes).await {
        Ok(0) => Err(Error::Closed),
        Ok(read) => {
            incoming.received += read;
            Ok(())
        }
        Err(error) => Err(Error::Io(error)),
    }
}

/// Ends our side and lets the client read: closing a socket that holds unread bytes sends a reset, and that would
/// overtake the alert.
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S) {
    let drained = async {
        socket.shutdown().await?;
        let mut sink = vec![0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match socket.read(&mut sink).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    // However this ends, the socket is closed next and the verdict stands.
    let _either_way = tokio::time::timeout(LINGER, drained).await;
}

impl TlsFacts {
    fn of(tls: &UnbufferedServerConnection) -> Self {
        let version = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = match tls.negotiated_cipher_suite().map(|suite| suite.suite()) {
            // rustls tells the TLS 1.3 suites apart by a prefix of its own.
            Some(CipherSuite::TLS13_AES_128_GCM_SHA256) => "TLS_AES_128_GCM_SHA256",
            Some(CipherSuite::TLS13_AES_256_GCM_SHA384) => "TLS_AES_256_GCM_SHA384",
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256) => "TLS_CHACHA20_POLY1305_SHA256",
            other => other.and_then(|suite| suite.as_str()).unwrap_or("unknown"),
        };
        let group = tls
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str());
        Self {
            version,
            cipher,
            group: group.unwrap_or("unknown"),
        }
    }
}

#[cfg(test)]
mod tests;
