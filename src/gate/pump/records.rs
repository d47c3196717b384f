//! The TLS records of an established connection: ciphertext to plaintext and back, without a socket.
//!
//! Keeps nothing but the part of a record that has not come in whole.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

use crate::gate::handshake::encode;

/// The most a TLS record takes on the wire (RFC 8446 section 5.2, RFC 5246 section 6.2.3), and so the most that is kept
/// of an incomplete one.
pub(super) const RECORD: usize = 18 * 1024 + 5;

/// One connection's records.
pub(super) struct Records {
    tls: Box<UnbufferedServerConnection>,
    incomplete: Vec<u8>,
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

impl Records {
    /// Goes on from the handshake; `incomplete` is what came behind it of a record.
    pub(super) fn new(tls: Box<UnbufferedServerConnection>, incomplete: Vec<u8>) -> Self {
        Self { tls, incomplete }
    }

    /// The beginning of a record: what is read next belongs behind it.
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
        let mut used = 0;
        let mut decrypted = 0;
        let mut end = Incoming::Open;
        loop {
            let rest = records.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(rest);
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        let end = decrypted + record.payload.len();
                        let Some(space) = plaintext.get_mut(decrypted..end) else {
                            unreachable!("plaintext is never longer than the records it came in");
                        };
                        space.copy_from_slice(record.payload);
                        decrypted = end;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(answer, |space| data.encode(space))
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => end = Incoming::Closed,
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => break,
                Ok(_) => {
                    end = Incoming::Broken("TLS came into a state that it never should");
                    break;
                }
                Err(rustls::Error::AlertReceived(_)) => {
                    end = Incoming::Broken("the client ended TLS with an alert");
                    break;
                }
                Err(_) => {
                    end = Incoming::Broken("the client broke TLS");
                    break;
                }
            }
        }
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
        self.write(first, |writer| writer.encrypt(plaintext, records).ok())
    }

    /// Appends the end of our direction; false if TLS is beyond that.
    pub(super) fn close_notify(&mut self, to: &mut Vec<u8>) -> bool {
        let mut alert = [0; 128];
        let Some(length) = self.write(to, |writer| writer.queue_close_notify(&mut alert).ok())
        else {
            return false;
        };
        to.extend_from_slice(alert.get(..length).unwrap_or_default());
        true
    }

    /// The kept ciphertext is shown to TLS, since part of a message may lie there.
    fn write<R>(
        &mut self,
        first: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Option<R>,
    ) -> Option<R> {
        loop {
            match self.tls.process_tls_records(&mut self.incomplete).state {
                Ok(ConnectionState::WriteTraffic(mut writer)) => return write(&mut writer),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(first, |space| data.encode(space))
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) | Err(_) => return None,
            }
        }
    }
}
