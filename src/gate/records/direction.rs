//! The key of one direction, and how often it was used.
//!
//! Its own file because a nonce that is used twice gives the key away: nothing else makes one, and both versions of TLS
//! take theirs from here.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

/// All three ciphers' (RFC 5116 sections 5.1 and 5.2, RFC 8439 section 2.8).
pub(super) const TAG: usize = 16;
/// What leads a record in TLS 1.2 where a nonce is not all secret (RFC 5288 section 3).
pub(super) const EXPLICIT: usize = 8;

/// One direction's protection under one key.
pub(super) struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    pub(super) sequence: u64,
}

impl Direction {
    /// Goes on from the number of records that the key has protected.
    ///
    /// # Errors
    /// If there is no such cipher here.
    pub(super) fn new(
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, rustls::Error> {
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

    /// Each number is given out once (RFC 8446 section 5.3): `None` after the last. It is spent whatever comes of it,
    /// since what a sealing that fails has written may still be seen.
    fn next(&mut self) -> Option<(u64, [u8; NONCE_LEN])> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1)?;
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(sequence.to_le_bytes()) {
            *byte ^= number;
        }
        Some((sequence, nonce))
    }

    /// Writes what is inside into `inner`, which is as long as the ciphertext; `None` if it is not authentic. `explicit`
    /// is the part of the nonce that the record brought, if it did; `bound` is what else must not have been changed.
    pub(super) fn open<B: AsRef<[u8]>>(
        &mut self,
        explicit: &[u8],
        bound: impl FnOnce(u64) -> B,
        (ciphertext, tag): (&[u8], &[u8; TAG]),
        inner: &mut [u8],
    ) -> Option<()> {
        let (sequence, mut nonce) = self.next()?;
        for (byte, explicit) in nonce.iter_mut().rev().zip(explicit.iter().rev()) {
            *byte = *explicit;
        }
        let (nonce, bound) = (
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(sequence)),
        );
        self.key
            .open_separate_gather(nonce, bound, ciphertext, tag, inner)
            .ok()
    }

    /// Seals `content` and the `more` behind it into `sealed`, which has room for exactly both and a [`TAG`]. Returns
    /// the nonce.
    pub(super) fn seal<B: AsRef<[u8]>>(
        &mut self,
        bound: impl FnOnce(u64) -> B,
        content: &[u8],
        more: &[u8],
        sealed: &mut [u8],
    ) -> Option<[u8; NONCE_LEN]> {
        let (sequence, nonce) = self.next()?;
        let (ciphertext, rest) = sealed.split_at_mut_checked(content.len())?;
        let (once, bound) = (
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound(sequence)),
        );
        self.key
            .seal_out_of_place_scatter(once, bound, content, ciphertext, more, rest)
            .ok()?;
        Some(nonce)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    fn pair() -> [Direction; 2] {
        [(), ()].map(|()| {
            let key = AeadKey::from([7; 32]);
            let iv = Iv::new([0xa5; NONCE_LEN]);
            Direction::new((0, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })).unwrap()
        })
    }

    /// The nonce, and whether the other side could open it.
    fn seal(direction: &mut Direction, content: &[u8], room: usize) -> Option<[u8; NONCE_LEN]> {
        let mut sealed = vec![0; room];
        direction.seal(|_| [0; 5], content, &[23], &mut sealed)
    }

    #[test]
    fn no_nonce_comes_twice_whatever_becomes_of_a_sealing() {
        let [mut direction, _] = pair();
        let mut seen = BTreeSet::new();
        for round in 0..1000_usize {
            let content = vec![round as u8; round % 7];
            let whole = content.len() + 1 + TAG;
            // Too little room for the content, for the tag, or room that is too much for the cipher.
            for room in [content.len().saturating_sub(1), whole - 1, whole + 1] {
                let before = direction.sequence;
                assert_eq!(seal(&mut direction, &content, room), None);
                assert_eq!(
                    direction.sequence,
                    before + 1,
                    "what failed has spent its number"
                );
            }
            let nonce = seal(&mut direction, &content, whole).expect("there is room");
            assert!(seen.insert(nonce), "round {round}");
        }
    }

    #[test]
    fn numbers_end_and_never_begin_anew() {
        let [mut direction, _] = pair();
        direction.sequence = u64::MAX - 1;
        assert!(seal(&mut direction, b"last", 4 + 1 + TAG).is_some());
        for _ in 0..3 {
            assert_eq!(seal(&mut direction, b"more", 4 + 1 + TAG), None);
            assert_eq!(direction.sequence, u64::MAX);
        }
    }

    #[test]
    fn what_is_bound_and_its_number_are_authenticated() {
        let [mut ours, mut theirs] = pair();
        let bound = |sequence: u64| sequence.to_be_bytes();
        let mut sealed = [0; 5 + TAG];
        ours.seal(bound, b"data", &[23], &mut sealed).unwrap();
        let (ciphertext, tag) = sealed.split_last_chunk().unwrap();
        let mut inner = [0; 5];
        let opened = theirs.open(&[], bound, (ciphertext, tag), &mut inner);
        assert_eq!((opened, &inner), (Some(()), b"data\x17"));
        // The same record once more has another number.
        assert_eq!(theirs.open(&[], bound, (ciphertext, tag), &mut inner), None);
        theirs.sequence = 0;
        let other = |_| 1_u64.to_be_bytes();
        assert_eq!(theirs.open(&[], other, (ciphertext, tag), &mut inner), None);
    }
}
