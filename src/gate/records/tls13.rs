//! TLS 1.3 record protection (RFC 8446 section 5), with keys from rustls and ciphers from aws-lc-rs.
//!
//! One record at a time, into memory of the caller's. After the handshake a client may send three things: data, alerts,
//! and new keys for its direction. Anything else, and anything that does not authenticate, is a [`Fault`].

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ContentType, ExtractedSecrets};

use super::direction::{Direction, TAG};
use super::{Content, FRAGMENT, Fault, HEADER, Incoming, Opened, RECORDS_PER_KEY};
use crate::gate::tls_error::ended_by;

/// What protection may add to a fragment (section 5.2).
const EXPANSION: usize = 256;
/// Handshake type 24, a body of one byte (section 4.6.3).
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

/// One connection's protection, both directions.
pub(super) struct Tls13 {
    /// Derives the next keys.
    secrets: KernelConnection<ServerConnectionData>,
    read: Direction,
    write: Direction,
    /// What has come in of a key update that is cut over records: five bytes at most.
    begun: Vec<u8>,
    /// The client asked for new keys of our direction: they come before our next data.
    owes_key_update: bool,
    records_per_key: u64,
}

impl Tls13 {
    /// Goes on where the handshake ended.
    ///
    /// # Errors
    /// If the handshake is not over, or its keys cannot be had.
    pub(super) fn new(tls: UnbufferedServerConnection) -> Result<Self, rustls::Error> {
        let (ExtractedSecrets { tx, rx }, secrets) = tls.dangerous_into_kernel_connection()?;
        Ok(Self {
            secrets,
            read: Direction::new(rx)?,
            write: Direction::new(tx)?,
            begun: Vec::new(),
            owes_key_update: false,
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
        let &[outer_type, _, _, high, low] = header;
        if ContentType::from(outer_type) != ContentType::ApplicationData {
            return Err(Fault::TYPE);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > FRAGMENT + EXPANSION {
            return Err(Fault::TOO_LONG);
        }
        let Some(sealed) = rest.get(..length) else {
            return Ok(None);
        };
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG>()
            .ok_or(Fault::NOT_AUTHENTIC)?;
        // Data, its type, and padding (section 5.4).
        if ciphertext.len() > FRAGMENT + 1 {
            return Err(Fault::TOO_LONG);
        }
        let inner = plaintext.get_mut(..ciphertext.len()).ok_or(Fault::OURS)?;
        self.read
            .open(&[], |_| header, (ciphertext, tag), inner)
            .ok_or(Fault::NOT_AUTHENTIC)?;
        let end = inner.iter().rposition(|byte| *byte != 0);
        let Some((content, inner_type)) = end.and_then(|end| {
            let (content, rest) = inner.split_at_checked(end)?;
            Some((content, *rest.first()?))
        }) else {
            return Err(Fault::EMPTY);
        };
        Ok(Some(Opened {
            used: HEADER + length,
            content: self.received(inner_type.into(), content)?,
        }))
    }

    fn received(&mut self, kind: ContentType, content: &[u8]) -> Result<Content, Fault> {
        if !self.begun.is_empty() && kind != ContentType::Handshake {
            return Err(Fault::BETWEEN);
        }
        match kind {
            ContentType::ApplicationData => Ok(Content::Data(content.len())),
            ContentType::Alert => alert_received(content),
            ContentType::Handshake => self.piece_received(content),
            ContentType::ChangeCipherSpec | ContentType::Heartbeat | _ => Err(Fault::TYPE),
        }
    }

    /// Takes a key update, or a piece of one. Its first bytes tell whether it is one; its last has to end the record, since
    /// what follows is sealed with the new key (section 5.1).
    fn piece_received(&mut self, piece: &[u8]) -> Result<Content, Fault> {
        if piece.is_empty() {
            return Err(Fault::EMPTY);
        }
        let missing = KEY_UPDATE.len() + 1 - self.begun.len();
        let (piece, behind) = piece.split_at(missing.min(piece.len()));
        self.begun.extend_from_slice(piece);
        if self.begun.first() != KEY_UPDATE.first() {
            return Err(Fault::MESSAGE);
        }
        if self.begun.iter().zip(&KEY_UPDATE).any(|(is, be)| is != be) {
            return Err(Fault::UNREADABLE);
        }
        let Some([request]) = self.begun.strip_prefix(&KEY_UPDATE) else {
            return Ok(Content::Piece);
        };
        if !behind.is_empty() {
            return Err(Fault::BEHIND);
        }
        match *request {
            UPDATE_NOT_REQUESTED => {}
            UPDATE_REQUESTED => self.owes_key_update = true,
            _ => return Err(Fault::REQUEST),
        }
        self.begun = Vec::new();
        let next = self.secrets.update_rx_secret().and_then(Direction::new);
        self.read = next.map_err(|_| Fault::OURS)?;
        Ok(Content::Message(None))
    }

    /// Seals data, at most [`FRAGMENT`] of it, behind the new key that may be due. `None` if no more can be sealed.
    pub(super) fn seal_data(&mut self, fragment: &[u8], records: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        if self.owes_key_update || self.write.sequence >= self.records_per_key {
            written = self.update_write_key(records)?;
        }
        let space = records.get_mut(written..)?;
        Some(written + self.seal(ContentType::ApplicationData, fragment, space)?)
    }

    fn update_write_key(&mut self, records: &mut [u8]) -> Option<usize> {
        let [kind, a, b, c] = KEY_UPDATE;
        let message = [kind, a, b, c, UPDATE_NOT_REQUESTED];
        let written = self.seal(ContentType::Handshake, &message, records)?;
        self.write = Direction::new(self.secrets.update_tx_secret().ok()?).ok()?;
        self.owes_key_update = false;
        Some(written)
    }

    /// Writes one record that holds `content`, at most [`FRAGMENT`] long, and returns its length.
    pub(super) fn seal(
        &mut self,
        kind: ContentType,
        content: &[u8],
        record: &mut [u8],
    ) -> Option<usize> {
        seal(&mut self.write, kind, content, record)
    }
}

fn seal(
    write: &mut Direction,
    kind: ContentType,
    content: &[u8],
    record: &mut [u8],
) -> Option<usize> {
    let length = content.len() + 1 + TAG;
    let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
    // What looks like TLS 1.2 on the wire (section 5.2).
    let header = [ContentType::ApplicationData.into(), 3, 3, high, low];
    let (place, sealed) = record
        .get_mut(..HEADER + length)?
        .split_first_chunk_mut::<HEADER>()?;
    *place = header;
    write.seal(|_| header, content, &[kind.into()], sealed)?;
    Some(HEADER + length)
}

/// Section 6: all alerts but two end the connection, whatever level they claim.
fn alert_received(alert: &[u8]) -> Result<Content, Fault> {
    let [_, description] = alert else {
        return Err(if alert.is_empty() {
            Fault::EMPTY
        } else {
            Fault::ALERT
        });
    };
    let description = AlertDescription::from(*description);
    Ok(if description == AlertDescription::CloseNotify {
        Content::End(Incoming::Closed)
    } else if description == AlertDescription::UserCanceled {
        Content::Message(None)
    } else {
        Content::End(Incoming::Broken(ended_by(description)))
    })
}

#[cfg(test)]
mod tests;
