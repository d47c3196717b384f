//! The one crypto provider, and the digest that tells contents apart.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest;
use rustls::crypto::{CryptoProvider, aws_lc_rs as provided};

/// The one crypto provider: aws-lc-rs, post-quantum hybrid first, then X25519 and the NIST curves. rustls takes the first
/// group of the client's list that is in ours; every client that offers the hybrid offers it first.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use provided::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider {
            kx_groups,
            ..provided::default_provider()
        })
    });
    &PROVIDER
}

/// Tells contents apart without keeping them.
pub type Digest = [u8; 32];

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut all = [0; 32];
    all.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    all
}

/// Bytes as people compare them: lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of several byte strings, each with its length: no byte can move from one to the next unseen.
pub fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut all = [0; 32];
    all.copy_from_slice(context.finish().as_ref());
    all
}
