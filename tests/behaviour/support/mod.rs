//! What the behaviour tests stand on: the real binary, throwaway certificates, real peers, targets that keep count.
//!
//! Nothing here sleeps to synchronise: every helper returns when the thing is true, or panics when [`PATIENCE`] is
//! over. Everything listens on loopback, on a port that the kernel chose, and dies with the value that owns it.

pub(crate) mod client;
pub(crate) mod craft;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod peers;
pub(crate) mod pki;
pub(crate) mod prometheus;
pub(crate) mod target;
pub(crate) mod volume;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; generous, since a test machine may be busy with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets this process, and what it starts, open as many descriptors as the system allows.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
}

/// `len` bytes that differ from place to place, so that bytes lost, doubled or out of order change their digest.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    // A block whose length is no power of two, repeated: no buffer size divides it.
    const BLOCK: usize = 65_537 * 3;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let block: Vec<u8> = (0..BLOCK.min(len))
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    block.iter().copied().cycle().take(len).collect()
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
        .as_ref()
        .to_vec()
}
