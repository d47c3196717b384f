//! TLS 1.2 records, by rustls.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};

use super::{Incoming, Opened};
use crate::gate::handshake::encode;

/// One connection's protection.
pub(super) struct Tls12(Box<UnbufferedServerConnection>);

impl Tls12 {
    /// Goes on where the handshake ended.
    pub(super) fn new(tls: Box<UnbufferedServerConnection>) -> Self {
        Self(tls)
    }

    /// Opens every whole record into `plaintext`, which is as large as `records`.
    pub(super) fn open(
        &mut self,
        records: &mut [u8],
        plaintext: &mut [u8],
        answer: &mut Vec<u8>,
    ) -> Opened {
        let mut used = 0;
        let mut decrypted = 0;
        let mut end = Incoming::Open;
        loop {
            let rest = records.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.0.process_tls_records(rest);
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
        Opened {
            used,
            decrypted,
            end,
        }
    }

    /// Seals into `records`; `kept` is the ciphertext that has not been opened yet.
    pub(super) fn seal(
        &mut self,
        kept: &mut [u8],
        plaintext: &[u8],
        records: &mut [u8],
        first: &mut Vec<u8>,
    ) -> Option<usize> {
        self.write(kept, first, |writer| {
            writer.encrypt(plaintext, records).ok()
        })
    }

    /// Appends close_notify; false if TLS is beyond that.
    pub(super) fn close_notify(&mut self, kept: &mut [u8], to: &mut Vec<u8>) -> bool {
        let mut alert = [0; 128];
        let Some(length) = self.write(kept, to, |writer| {
            writer.queue_close_notify(&mut alert).ok()
        }) else {
            return false;
        };
        to.extend_from_slice(alert.get(..length).unwrap_or_default());
        true
    }

    /// The kept ciphertext is shown to TLS, since part of a message may lie there.
    fn write<R>(
        &mut self,
        kept: &mut [u8],
        first: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> Option<R>,
    ) -> Option<R> {
        loop {
            match self.0.process_tls_records(kept).state {
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
