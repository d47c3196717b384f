//! TLS 1.2 record protection (RFC 5246 section 6.2) with the ciphers that are left of it, AES-GCM (RFC 5288) and
//! ChaCha20-Poly1305 (RFC 7905).
//!
//! One record at a time, into memory of the caller's. After the handshake a client may send data and alerts, and may ask
//! for another handshake, which it is denied. Anything else, and anything that does not authenticate, is a [`Fault`].

use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets};

use super::direction::{Direction, EXPLICIT, TAG};
use super::{Content, FATAL, FRAGMENT, Fault, HEADER, Incoming, Opened, RECORDS_PER_KEY, WARNING};
use crate::gate::tls_error::ended_by;

/// What protection may add to a fragment (RFC 5246 section 6.2.3).
const EXPANSION: usize = 2048;
/// Number, type, version and length.
const ADDITIONAL: usize = 8 + HEADER;
const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message (section 7.4).
const MESSAGE_HEADER: usize = 4;
/// The longest hello that is passed over, as long as the longest that a handshake takes.
const HELLO: usize = 0xffff;

/// One connection's protection, both directions.
pub(super) struct Tls12 {
    read: Direction,
    write: Direction,
    /// How much of each record is a part of the nonce.
    explicit: usize,
    /// What has come in of a message's header, if it is cut there.
    begun: Vec<u8>,
    /// How much of a hello is still to come.
    left: usize,
    records_per_key: u64,
}

impl Tls12 {
    /// Goes on where the handshake ended.
    ///
    /// # Errors
    /// If the handshake is not over, or its keys cannot be had.
    pub(super) fn new(tls: UnbufferedServerConnection) -> Result<Self, rustls::Error> {
        let (ExtractedSecrets { tx, rx }, _) = tls.dangerous_into_kernel_connection()?;
        let all_secret = matches!(tx.1, ConnectionTrafficSecrets::Chacha20Poly1305 { .. });
        Ok(Self {
            read: Direction::new(rx)?,
            write: Direction::new(tx)?,
            explicit: if all_secret { 0 } else { EXPLICIT },
            begun: Vec::new(),
            left: 0,
            records_per_key: RECORDS_PER_KEY,
        })
    }

    /// Opens the first record into `plaintext`; `None` if it has not come in whole.
    pub(super) fn open(
        &mut self,
        records: &[u8],
        plaintext: &mut [u8],
    ) -> Result<Option<Opened>, Fault> {
        let Some((header, rest)) = records.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let &[kind, major, minor, high, low] = header;
        let kind = ContentType::from(kind);
        let known = [
            ContentType::ApplicationData,
            ContentType::Alert,
            ContentType::Handshake,
        ];
        if !known.contains(&kind) {
            return Err(Fault::TYPE);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > FRAGMENT + EXPANSION {
            return Err(Fault::TOO_LONG);
        }
        let Some(protected) = rest.get(..length) else {
            return Ok(None);
        };
        let (explicit, sealed) = protected
            .split_at_checked(self.explicit)
            .ok_or(Fault::NOT_AUTHENTIC)?;
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG>()
            .ok_or(Fault::NOT_AUTHENTIC)?;
        if ciphertext.len() > FRAGMENT {
            return Err(Fault::TOO_LONG);
        }
        let content = plaintext.get_mut(..ciphertext.len()).ok_or(Fault::OURS)?;
        let (version, length_inside) = ([major, minor], ciphertext.len());
        let bound = |sequence| additional(sequence, kind, version, length_inside);
        self.read
            .open(explicit, bound, (ciphertext, tag), content)
            .ok_or(Fault::NOT_AUTHENTIC)?;
        Ok(Some(Opened {
            used: HEADER + length,
            content: self.received(kind, content)?,
        }))
    }

    fn received(&mut self, kind: ContentType, content: &[u8]) -> Result<Content, Fault> {
        let within = self.left > 0 || !self.begun.is_empty();
        if within && kind != ContentType::Handshake {
            return Err(Fault::BETWEEN);
        }
        if content.is_empty() && kind != ContentType::ApplicationData {
            return Err(Fault::EMPTY);
        }
        match kind {
            ContentType::ApplicationData => Ok(Content::Data(content.len())),
            ContentType::Alert => alert_received(content),
            ContentType::Handshake => self.piece_received(content),
            ContentType::ChangeCipherSpec | ContentType::Heartbeat | _ => Err(Fault::TYPE),
        }
    }

    /// Takes a hello that asks for another handshake, or a piece of one, unread, and denies it at its end. That is a
    /// warning: the client may go on without (section 7.2.2).
    fn piece_received(&mut self, mut piece: &[u8]) -> Result<Content, Fault> {
        if self.left == 0 {
            let missing = MESSAGE_HEADER - self.begun.len();
            let (header, body) = piece.split_at(missing.min(piece.len()));
            self.begun.extend_from_slice(header);
            if self.begun.first() != Some(&CLIENT_HELLO) {
                return Err(Fault::MESSAGE);
            }
            let &[_, high, middle, low] = self.begun.as_slice() else {
                return Ok(Content::Piece);
            };
            self.left = usize::from(high) << 16 | usize::from(u16::from_be_bytes([middle, low]));
            if self.left == 0 || self.left > HELLO {
                return Err(Fault::UNREADABLE);
            }
            self.begun = Vec::new();
            piece = body;
        }
        self.left = self.left.checked_sub(piece.len()).ok_or(Fault::BEHIND)?;
        Ok(if self.left > 0 {
            Content::Piece
        } else {
            Content::Message(Some(AlertDescription::NoRenegotiation))
        })
    }

    /// Seals data, at most [`FRAGMENT`] of it. `None` if the key has sealed as much as it may: there is no other.
    pub(super) fn seal_data(&mut self, fragment: &[u8], record: &mut [u8]) -> Option<usize> {
        if self.write.sequence >= self.records_per_key {
            return None;
        }
        self.seal(ContentType::ApplicationData, fragment, record)
    }

    /// Writes one record that holds `content`, at most [`FRAGMENT`] long, and returns its length.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        content: &[u8],
        record: &mut [u8],
    ) -> Option<usize> {
        seal(&mut self.write, self.explicit, kind, content, record)
    }
}

pub(super) fn seal(
    write: &mut Direction,
    explicit: usize,
    kind: ContentType,
    content: &[u8],
    record: &mut [u8],
) -> Option<usize> {
    let length = explicit + content.len() + TAG;
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    let (header, protected) = record
        .get_mut(..HEADER + length)?
        .split_first_chunk_mut::<HEADER>()?;
    *header = [kind.into(), 3, 3, high, low];
    let (shown, sealed) = protected.split_at_mut_checked(explicit)?;
    let bound = |sequence| additional(sequence, kind, [3, 3], content.len());
    let nonce = write.seal(bound, content, &[], sealed)?;
    shown.copy_from_slice(nonce.get(nonce.len() - explicit..)?);
    Some(HEADER + length)
}

/// What is authenticated beside the content (RFC 5246 section 6.2.3.3).
fn additional(
    sequence: u64,
    kind: ContentType,
    [major, minor]: [u8; 2],
    length: usize,
) -> [u8; ADDITIONAL] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    let [.., high, low] = length.to_be_bytes();
    let kind = kind.into();
    [a, b, c, d, e, f, g, h, kind, major, minor, high, low]
}

/// Section 7.2: a warning ends nothing, but for close_notify.
fn alert_received(alert: &[u8]) -> Result<Content, Fault> {
    let &[level, description] = alert else {
        return Err(Fault::ALERT);
    };
    let description = AlertDescription::from(description);
    match level {
        WARNING | FATAL if description == AlertDescription::CloseNotify => {
            Ok(Content::End(Incoming::Closed))
        }
        WARNING => Ok(Content::Message(None)),
        FATAL => Ok(Content::End(Incoming::Broken(ended_by(description)))),
        _ => Err(Fault::ALERT_LEVEL),
    }
}

#[cfg(test)]
mod tests;
