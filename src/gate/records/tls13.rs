//! TLS 1.3 record protection (RFC 8446 section 5), with keys from rustls and ciphers from aws-lc-rs.
//!
//! Ciphertext and plaintext in, the other out, into memory of the caller's. After the handshake a client may send three
//! things: data, alerts, and new keys for its direction. Anything else, and anything that does not authenticate, ends
//! the connection with the alert that RFC 8446 names.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, ExtractedSecrets};

use super::{HEADER, Incoming, Opened};

/// The most that one record carries (section 5.1).
const FRAGMENT: usize = 1 << 14;
/// All three ciphers' (RFC 5116 sections 5.1 and 5.2, RFC 8439 section 2.8).
const TAG: usize = 16;
/// What protection may add to a fragment (section 5.2).
const EXPANSION: usize = 256;
/// Records sealed under one key: for AES-GCM no more than 2^24.5 keep the margin of section 5.5.
const RECORDS_PER_KEY: u64 = 1 << 24;
/// New keys in a row without a byte of data: more are work for nothing.
const KEY_UPDATES: u8 = 32;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
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
    /// The client asked for new keys of our direction: they come before our next data.
    owes_key_update: bool,
    /// The client's new keys since its last data.
    key_updates: u8,
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
            owes_key_update: false,
            key_updates: 0,
            records_per_key: RECORDS_PER_KEY,
        })
    }

    /// Opens every whole record into `plaintext`, which is as large as `records`. An alert for the client is appended
    /// to `answer`.
    pub(super) fn open(
        &mut self,
        records: &[u8],
        plaintext: &mut [u8],
        answer: &mut Vec<u8>,
    ) -> Opened {
        let mut opened = Opened {
            used: 0,
            decrypted: 0,
            end: Incoming::Open,
        };
        while opened.end == Incoming::Open {
            let rest = records.get(opened.used..).unwrap_or_default();
            let space = plaintext.get_mut(opened.decrypted..).unwrap_or_default();
            match self.open_one(rest, space) {
                Ok(None) => break,
                Ok(Some(one)) => {
                    opened.used += one.used;
                    opened.decrypted += one.decrypted;
                    opened.end = one.end;
                }
                Err(alert) => {
                    opened.end = Incoming::Broken("the client broke TLS");
                    // Nobody is left to hear it if this fails too.
                    let _told = self.append_alert(answer, FATAL, alert);
                }
            }
        }
        opened
    }

    /// `None` if the record has not come in whole.
    fn open_one(
        &mut self,
        records: &[u8],
        plaintext: &mut [u8],
    ) -> Result<Option<Opened>, AlertDescription> {
        let Some((header, rest)) = records.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let &[outer_type, _, _, high, low] = header;
        if ContentType::from(outer_type) != ContentType::ApplicationData {
            return Err(AlertDescription::UnexpectedMessage);
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > FRAGMENT + EXPANSION {
            return Err(AlertDescription::RecordOverflow);
        }
        let Some(sealed) = rest.get(..length) else {
            return Ok(None);
        };
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG>()
            .ok_or(AlertDescription::BadRecordMac)?;
        // Data, its type, and padding (section 5.4).
        if ciphertext.len() > FRAGMENT + 1 {
            return Err(AlertDescription::RecordOverflow);
        }
        let inner = plaintext
            .get_mut(..ciphertext.len())
            .ok_or(AlertDescription::InternalError)?;
        self.read
            .open(header, ciphertext, tag, inner)
            .ok_or(AlertDescription::BadRecordMac)?;
        let end = inner.iter().rposition(|byte| *byte != 0);
        let Some((content, inner_type)) = end.and_then(|end| {
            let (content, rest) = inner.split_at_checked(end)?;
            Some((content, *rest.first()?))
        }) else {
            return Err(AlertDescription::UnexpectedMessage);
        };
        let mut opened = Opened {
            used: HEADER + length,
            decrypted: 0,
            end: Incoming::Open,
        };
        match ContentType::from(inner_type) {
            ContentType::ApplicationData => {
                opened.decrypted = content.len();
                if !content.is_empty() {
                    self.key_updates = 0;
                }
            }
            ContentType::Alert => opened.end = alert_received(content)?,
            ContentType::Handshake => self.key_update_received(content)?,
            ContentType::ChangeCipherSpec | ContentType::Heartbeat | _ => {
                return Err(AlertDescription::UnexpectedMessage);
            }
        }
        Ok(Some(opened))
    }

    /// A key update ends its record (section 5.1), so it stands alone in one; a client that cuts it up is refused.
    fn key_update_received(&mut self, message: &[u8]) -> Result<(), AlertDescription> {
        let Some([request]) = message.strip_prefix(&KEY_UPDATE) else {
            return Err(AlertDescription::UnexpectedMessage);
        };
        match *request {
            UPDATE_NOT_REQUESTED => {}
            UPDATE_REQUESTED => self.owes_key_update = true,
            _ => return Err(AlertDescription::IllegalParameter),
        }
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES {
            return Err(AlertDescription::UnexpectedMessage);
        }
        let next = self.secrets.update_rx_secret().and_then(Direction::new);
        self.read = next.map_err(|_| AlertDescription::InternalError)?;
        Ok(())
    }

    /// Seals into `records`, which has room for [`HEADER`], a type and [`TAG`] with each [`FRAGMENT`]. `None` if no
    /// more can be sealed.
    pub(super) fn seal(&mut self, plaintext: &[u8], records: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        for fragment in plaintext.chunks(FRAGMENT) {
            if self.owes_key_update || self.write.sequence >= self.records_per_key {
                written += self.update_write_key(records.get_mut(written..)?)?;
            }
            let space = records.get_mut(written..)?;
            written += self
                .write
                .seal(ContentType::ApplicationData, fragment, space)?;
        }
        Some(written)
    }

    fn update_write_key(&mut self, records: &mut [u8]) -> Option<usize> {
        let [kind, a, b, c] = KEY_UPDATE;
        let message = [kind, a, b, c, UPDATE_NOT_REQUESTED];
        let written = self.write.seal(ContentType::Handshake, &message, records)?;
        self.write = Direction::new(self.secrets.update_tx_secret().ok()?).ok()?;
        self.owes_key_update = false;
        Some(written)
    }

    /// Appends close_notify; false if no more can be sealed.
    pub(super) fn close_notify(&mut self, to: &mut Vec<u8>) -> bool {
        self.append_alert(to, WARNING, AlertDescription::CloseNotify)
            .is_some()
    }

    fn append_alert(
        &mut self,
        to: &mut Vec<u8>,
        level: u8,
        alert: AlertDescription,
    ) -> Option<usize> {
        let mut record = [0; HEADER + 3 + TAG];
        let alert = [level, alert.into()];
        let written = self.write.seal(ContentType::Alert, &alert, &mut record)?;
        to.extend_from_slice(record.get(..written)?);
        Some(written)
    }
}

/// Section 6: all alerts but two end the connection.
fn alert_received(alert: &[u8]) -> Result<Incoming, AlertDescription> {
    let [_, description] = alert else {
        return Err(AlertDescription::DecodeError);
    };
    let description = AlertDescription::from(*description);
    Ok(if description == AlertDescription::CloseNotify {
        Incoming::Closed
    } else if description == AlertDescription::UserCanceled {
        Incoming::Open
    } else {
        Incoming::Broken("the client ended TLS with an alert")
    })
}

/// The key of one direction, and how often it was used.
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, rustls::Error> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(rustls::Error::General("a cipher without a key".to_owned())),
        };
        let unusable = || rustls::Error::General("a key or nonce of the wrong length".to_owned());
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable())?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().map_err(|_| unusable())?,
            sequence,
        })
    }

    /// Each is given out once (section 5.3): `None` after the last.
    fn next_nonce(&mut self) -> Option<Nonce> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1)?;
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(sequence.to_le_bytes()) {
            *byte ^= number;
        }
        Some(Nonce::assume_unique_for_key(nonce))
    }

    /// Writes what is inside into `inner`, which is as long as the ciphertext; `None` if it is not authentic.
    fn open(
        &mut self,
        header: &[u8; HEADER],
        ciphertext: &[u8],
        tag: &[u8; TAG],
        inner: &mut [u8],
    ) -> Option<()> {
        let nonce = self.next_nonce()?;
        self.key
            .open_separate_gather(nonce, Aad::from(header), ciphertext, tag, inner)
            .ok()
    }

    /// Writes one record that holds `content`, at most [`FRAGMENT`] long, and returns its length.
    fn seal(&mut self, kind: ContentType, content: &[u8], record: &mut [u8]) -> Option<usize> {
        let length = content.len() + 1 + TAG;
        let [high, low] = u16::try_from(length).ok()?.to_be_bytes();
        // What looks like TLS 1.2 on the wire (section 5.2).
        let header = [ContentType::ApplicationData.into(), 3, 3, high, low];
        let (place, sealed) = record
            .get_mut(..HEADER + length)?
            .split_first_chunk_mut::<HEADER>()?;
        *place = header;
        let (ciphertext, rest) = sealed.split_at_mut_checked(content.len())?;
        let nonce = self.next_nonce()?;
        let (aad, kind) = (Aad::from(header), [kind.into()]);
        self.key
            .seal_out_of_place_scatter(nonce, aad, content, ciphertext, &kind, rest)
            .ok()?;
        Some(HEADER + length)
    }
}

#[cfg(test)]
mod tests;
