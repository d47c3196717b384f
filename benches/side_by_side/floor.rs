//! What no relay of this kind can do without: the cryptography of a connection and of its bytes, by the gate's own
//! library and called directly. With the plain relay beside it, it is the floor that the tables show.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey as Verifier,
};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of a TLS record (RFC 8446 section 5.1).
const RECORD: usize = 16 << 10;
/// What a signature in TLS 1.3 covers with SHA-256 (RFC 8446 section 4.4.3).
const SIGNED: usize = 64 + 34 + 32;

/// Keys of both sides, made once.
pub(crate) struct Floor {
    random: SystemRandom,
    key: EcdsaKeyPair,
    client: Vec<u8>,
    share: Vec<u8>,
    record: LessSafeKey,
}

impl Floor {
    pub(crate) fn new() -> Result<Self> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let client = key.sign(&random, &[7; SIGNED])?.as_ref().to_vec();
        let share = EphemeralPrivateKey::generate(&X25519, &random)?;
        let share = share.compute_public_key()?.as_ref().to_vec();
        let record = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16])?);
        Ok(Self {
            random,
            key,
            client,
            share,
            record,
        })
    }

    /// Seconds of a handshake: a key pair and the agreement, the own signature, and the client's. A chain that was
    /// verified before need not be again.
    pub(crate) fn handshake(&self) -> Result<f64> {
        let one = || -> Result<()> {
            let own = EphemeralPrivateKey::generate(&X25519, &self.random)?;
            black_box(own.compute_public_key()?);
            let peer = UnparsedPublicKey::new(&X25519, &self.share);
            let failed = anyhow!("no agreement");
            agree_ephemeral(own, peer, failed, |secret| {
                black_box(secret);
                Ok(())
            })?;
            black_box(self.key.sign(&self.random, &[7; SIGNED])?);
            let client = Verifier::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key());
            client.verify(&[7; SIGNED], &self.client)?;
            Ok(())
        };
        each(100, one)
    }

    /// Seconds of a byte in full records, sealed.
    pub(crate) fn sealed_byte(&self) -> Result<f64> {
        let mut record = vec![7; RECORD];
        let one = || -> Result<()> {
            let nonce = Nonce::assume_unique_for_key([7; 12]);
            let tag = self
                .record
                .seal_in_place_separate_tag(nonce, Aad::empty(), &mut record)?;
            drop(black_box(tag));
            Ok(())
        };
        Ok(each(500, one)? / RECORD as f64)
    }

    /// Seconds of a byte in full records, opened.
    pub(crate) fn opened_byte(&self) -> Result<f64> {
        let nonce = || Nonce::assume_unique_for_key([7; 12]);
        let mut sealed = vec![7; RECORD];
        self.record
            .seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)?;
        let mut record = Vec::with_capacity(sealed.len());
        let one = || -> Result<()> {
            // In the cache, as what was just received is.
            record.clear();
            record.extend_from_slice(&sealed);
            black_box(
                self.record
                    .open_in_place(nonce(), Aad::empty(), &mut record)?,
            );
            Ok(())
        };
        Ok(each(500, one)? / RECORD as f64)
    }
}

/// CPU seconds of one piece of work, on this thread alone.
fn each(count: u32, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let since = now()?;
    for _ in 0..count {
        work()?;
    }
    Ok((now()? - since).as_secs_f64() / f64::from(count))
}
