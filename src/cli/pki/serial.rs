//! Serial numbers: random for a new certificate, hexadecimal for people.
//!
//! Its own file because the command line, the authority and revocation lists must mean the same number by the same
//! text. Knows nothing about certificates.

use std::fmt;
use std::str::FromStr;

use super::authority::AuthorityError;
pub(super) use crate::crypto::hex;

/// A certificate's serial number, shown in hexadecimal as in the gate's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Sixteen bytes that nobody can guess: positive (RFC 5280 section 4.1.2.2), and never shorter.
    pub(super) fn random() -> Result<Self, AuthorityError> {
        let mut bytes = random::<16>()?;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x40;
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Big-endian, without leading zeros.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number that these big-endian bytes spell.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes.iter().skip(leading).copied().collect())
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Serial {
    type Err = InvalidSerial;

    /// Hexadecimal as this crate and OpenSSL show it: with or without colons or a leading `0x`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .unwrap_or(text);
        let mut nibbles = Vec::new();
        for c in digits.chars().filter(|c| *c != ':').rev() {
            let nibble = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            nibbles.push(nibble.ok_or(InvalidSerial)?);
        }
        let byte = |pair: &[u8]| match pair {
            [low, high] => high << 4 | low,
            [low] => *low,
            _ => 0,
        };
        let mut bytes: Vec<u8> = nibbles.chunks(2).map(byte).collect();
        bytes.reverse();
        let serial = Self::from_bytes(&bytes);
        // RFC 5280 section 4.1.2.2: positive, and at most 20 octets.
        match serial.0.len() {
            1..=20 => Ok(serial),
            _ => Err(InvalidSerial),
        }
    }
}

/// Why a text is no serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a serial number: 1 to 20 bytes in hexadecimal, not zero")]
pub struct InvalidSerial;

/// Random bytes, for serial numbers and for names that must not meet.
pub(super) fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    Ok(bytes)
}
