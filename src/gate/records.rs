//! The TLS records of an established connection: ciphertext to plaintext and back, without a socket.
//!
//! TLS 1.3 records are opened and sealed here, with the keys that rustls negotiated, straight from one lent buffer into
//! the other: rustls copies each record twice more and keeps what only a handshake needs. TLS 1.2 records go through
//! rustls. Keeps nothing but the part of a record that has not come in whole.

mod tls12;
mod tls13;

use rustls::ProtocolVersion;
use rustls::server::UnbufferedServerConnection;

use self::tls12::Tls12;
use self::tls13::Tls13;

/// The most a TLS record takes on the wire (RFC 8446 section 5.2, RFC 5246 section 6.2.3), and so the most that is kept
/// of an incomplete one.
pub(super) const RECORD: usize = 18 * 1024 + HEADER;
/// Type, version, length (RFC 8446 section 5.1).
const HEADER: usize = 5;

/// How long the record is that begins here, its header included; `None` if its header has not come in whole.
pub(super) fn length(record: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = record.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([high, low])))
}

/// One connection's records.
pub(super) struct Records {
    protection: Protection,
    incomplete: Vec<u8>,
}

enum Protection {
    Tls12(Tls12),
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

/// What came of received bytes.
struct Opened {
    /// How many of them made whole records.
    used: usize,
    /// How much plaintext that was.
    decrypted: usize,
    end: Incoming,
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
            _ => Protection::Tls12(Tls12::new(tls)),
        };
        Ok(Self {
            protection,
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
        let Opened {
            used,
            decrypted,
            end,
        } = match &mut self.protection {
            Protection::Tls12(tls) => tls.open(records, plaintext, answer),
            Protection::Tls13(tls) => tls.open(records, plaintext, answer),
        };
        self.incomplete = match end {
            Incoming::Open => records.get(used..).unwrap_or_default().to_vec(),
            // RFC 8446 section 6.1: whatever follows close_notify is ignored.
            Incoming::Closed | Incoming::Broken(_) => Vec::new(),
        };
        (decrypted, end)
    }

    /// Encrypts into `records`, which has room for what TLS adds. Returns how much that makes, or `None` if TLS can
    /// encrypt no more. What TLS itself wants to say before it is appended to `first`.
    pub(super) fn encrypt(
        &mut self,
        plaintext: &[u8],
        records: &mut [u8],
        first: &mut Vec<u8>,
    ) -> Option<usize> {
        match &mut self.protection {
            Protection::Tls12(tls) => tls.seal(&mut self.incomplete, plaintext, records, first),
            Protection::Tls13(tls) => tls.seal(plaintext, records),
        }
    }

    /// Appends the end of our direction; false if TLS is beyond that.
    pub(super) fn close_notify(&mut self, to: &mut Vec<u8>) -> bool {
        match &mut self.protection {
            Protection::Tls12(tls) => tls.close_notify(&mut self.incomplete, to),
            Protection::Tls13(tls) => tls.close_notify(to),
        }
    }
}
