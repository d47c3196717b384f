//! The TLS records of an established connection: ciphertext to plaintext and back, without a socket.
//!
//! They are opened and sealed here, with the keys that rustls negotiated, straight from one lent buffer into the other:
//! rustls copies each record twice more, keeps what only a handshake needs, and has no alert for some of what a client
//! can do wrong. Keeps nothing but the part of a record, or of a short message, that has not come in whole.

mod direction;
mod fault;
mod tls12;
mod tls13;

use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ContentType, ProtocolVersion};

use self::direction::{EXPLICIT, TAG};
use self::fault::Fault;
use self::tls12::Tls12;
use self::tls13::Tls13;

/// The most a TLS record takes on the wire (RFC 8446 section 5.2, RFC 5246 section 6.2.3), and so the most that is kept
/// of an incomplete one.
pub(super) const RECORD: usize = 18 * 1024 + HEADER;
/// Type, version, length (RFC 8446 section 5.1).
pub(super) const HEADER: usize = 5;
/// The most that one record carries (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
const FRAGMENT: usize = 1 << 14;
/// Records sealed under one key: for AES-GCM no more than 2^24.5 keep the margin of RFC 8446 section 5.5.
const RECORDS_PER_KEY: u64 = 1 << 24;
/// Messages in a row that end nothing and carry no data: more are work for nothing.
const FRUITLESS: u8 = 32;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// How long the record is that begins here, its header included; `None` if its header has not come in whole.
pub(super) fn length(record: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = record.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// One connection's records.
pub(super) struct Records {
    protection: Protection,
    /// Messages of the client since its last data.
    fruitless: u8,
    incomplete: Vec<u8>,
}

enum Protection {
    Tls12(Box<Tls12>),
    Tls13(Box<Tls13>),
}

/// Where the client's direction stands after its records were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// It may send more.
    Open,
    /// It has sent close_notify.
    Closed,
    /// It has broken off, or broken TLS.
    Broken(&'static str),
}

/// What came of one whole record.
struct Opened {
    /// How many bytes it took.
    used: usize,
    content: Content,
}

/// What a client can rightly send.
enum Content {
    /// So much of it.
    Data(usize),
    /// A part of a message, which is kept.
    Piece,
    /// A message that ends nothing. A warning may have to be answered.
    Message(Option<AlertDescription>),
    /// Close_notify, or an alert that ends the session without one.
    End(Incoming),
}

impl Records {
    /// Goes on from the handshake; `incomplete` is what came behind it.
    ///
    /// # Errors
    /// If the handshake is not over, or its keys cannot be had.
    pub(super) fn new(
        tls: Box<UnbufferedServerConnection>,
        incomplete: Vec<u8>,
    ) -> Result<Self, rustls::Error> {
        let protection = match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Protection::Tls13(Box::new(Tls13::new(*tls)?)),
            _ => Protection::Tls12(Box::new(Tls12::new(*tls)?)),
        };
        Ok(Self {
            protection,
            fruitless: 0,
            incomplete,
        })
    }

    /// What has come in and was not opened yet: what is read next belongs behind it.
    pub(super) fn incomplete(&self) -> &[u8] {
        &self.incomplete
    }

    /// Decrypts every whole record into `plaintext`, which is as large as `records`, and keeps the rest. Returns how
    /// much plaintext there is. What TLS itself wants to say to the client is appended to `answer`.
    pub(super) fn decrypt(
        &mut self,
        records: &mut [u8],
        plaintext: &mut [u8],
        answer: &mut Vec<u8>,
    ) -> (usize, Incoming) {
        let (mut used, mut decrypted) = (0, 0);
        let end = loop {
            let rest = records.get(used..).unwrap_or_default();
            let space = plaintext.get_mut(decrypted..).unwrap_or_default();
            let opened = match &mut self.protection {
                Protection::Tls12(tls) => tls.open(rest, space),
                Protection::Tls13(tls) => tls.open(rest, space),
            };
            let content = opened.and_then(|opened| {
                let Some(opened) = opened else {
                    return Ok(None);
                };
                used += opened.used;
                self.bound(&opened.content)?;
                Ok(Some(opened.content))
            });
            match content {
                Ok(None) => break Incoming::Open,
                Ok(Some(Content::Data(length))) => decrypted += length,
                Ok(Some(Content::Piece | Content::Message(None))) => {}
                Ok(Some(Content::Message(Some(alert)))) => {
                    // A direction that can seal no more fails at its next data.
                    let _told = self.alert(answer, WARNING, alert);
                }
                Ok(Some(Content::End(end))) => break end,
                Err(fault) => {
                    // Nobody is left to hear it if this fails too.
                    let _told = self.alert(answer, FATAL, fault.alert);
                    break Incoming::Broken(fault.why);
                }
            }
        };
        self.incomplete = match end {
            Incoming::Open => records.get(used..).unwrap_or_default().to_vec(),
            // RFC 8446 section 6.1: whatever follows close_notify is ignored.
            Incoming::Closed | Incoming::Broken(_) => Vec::new(),
        };
        (decrypted, end)
    }

    /// Messages cost work; data is what they are for.
    fn bound(&mut self, content: &Content) -> Result<(), Fault> {
        match content {
            Content::Data(1..) => self.fruitless = 0,
            Content::Message(_) => self.fruitless += 1,
            Content::Data(_) | Content::Piece | Content::End(_) => {}
        }
        if self.fruitless > FRUITLESS {
            return Err(Fault::FRUITLESS);
        }
        Ok(())
    }

    /// Encrypts into `records`, which has room for what TLS adds. Returns how much that makes, or `None` if TLS can
    /// encrypt no more. What TLS itself wants to say first stands in `records` too, sealed in its turn.
    pub(super) fn encrypt(&mut self, plaintext: &[u8], records: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        for fragment in plaintext.chunks(FRAGMENT) {
            let space = records.get_mut(written..)?;
            written += match &mut self.protection {
                Protection::Tls12(tls) => tls.seal_data(fragment, space)?,
                Protection::Tls13(tls) => tls.seal_data(fragment, space)?,
            };
        }
        Some(written)
    }

    /// Appends the end of our direction; false if TLS is beyond that.
    pub(super) fn close_notify(&mut self, to: &mut Vec<u8>) -> bool {
        self.alert(to, WARNING, AlertDescription::CloseNotify)
            .is_some()
    }

    fn alert(&mut self, to: &mut Vec<u8>, level: u8, alert: AlertDescription) -> Option<()> {
        let mut record = [0; HEADER + EXPLICIT + 3 + TAG];
        let (kind, alert) = (ContentType::Alert, [level, alert.into()]);
        let written = match &mut self.protection {
            Protection::Tls12(tls) => tls.seal(kind, &alert, &mut record)?,
            Protection::Tls13(tls) => tls.seal(kind, &alert, &mut record)?,
        };
        to.extend_from_slice(record.get(..written)?);
        Some(())
    }
}

#[cfg(test)]
mod tests;
