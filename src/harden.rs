//! What the process does to itself before it holds a key: no core dumps, no tracer, and its descriptors counted.

use std::num::NonZeroU32;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::Limits;

/// Descriptors that are not connections: standard streams, epoll, signals, admin connections, files being read.
const RESERVED: u64 = 24;

/// Keeps keys out of core files and away from `ptrace` by other processes of the user (prctl(2), PR_SET_DUMPABLE).
/// What the kernel does not grant is logged, not fatal: the gate is no less shut without it.
pub fn protect_memory() {
    let no_core = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let not_dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    for (what, result) in [("RLIMIT_CORE", no_core), ("PR_SET_DUMPABLE", not_dumpable)] {
        if let Err(error) = result {
            tracing::warn!(event = "not_hardened", what, %error, "a core dump of this process could hold its key");
        }
    }
}

/// Raises the descriptor limit to what the process may have, and returns it; `None` is without limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

/// Lowers the caps to what the descriptors allow: an admitted connection takes two, a handshake one. A quarter is kept
/// for handshakes, so that sessions cannot lock newcomers out. Says if it lowered anything.
pub fn fit(limits: Limits, descriptors: Option<u64>, listeners: usize) -> (Limits, bool) {
    let Some(descriptors) = descriptors else {
        return (limits, false);
    };
    let free = descriptors
        .saturating_sub(RESERVED)
        .saturating_sub(listeners as u64);
    let at_most = |wanted: NonZeroU32, most: u64| {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN).min(wanted)
    };
    let handshakes = at_most(limits.handshakes, free / 4);
    let connections = at_most(
        limits.connections,
        free.saturating_sub(u64::from(handshakes.get())) / 2,
    );
    let lowered = handshakes < limits.handshakes || connections < limits.connections;
    (
        Limits {
            connections,
            handshakes,
            ..limits
        },
        lowered,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_fit_the_descriptors() {
        let wanted = Limits {
            connections: NonZeroU32::new(4096).unwrap(),
            connections_per_source: None,
            handshakes: NonZeroU32::new(256).unwrap(),
        };
        for descriptors in [0, 25, 64, 256, 1024, 8192, 1 << 20] {
            let (fitted, lowered) = fit(wanted, Some(descriptors), 1);
            let used = u64::from(fitted.connections.get()) * 2
                + u64::from(fitted.handshakes.get())
                + RESERVED
                + 1;
            assert!(
                used <= descriptors || fitted.connections.get() == 1,
                "{descriptors}: {fitted:?}"
            );
            assert_eq!(
                lowered,
                descriptors < 8192 + 256 + RESERVED + 1,
                "{descriptors}: {fitted:?}"
            );
        }
        assert!(!fit(wanted, None, 1).1);
    }
}
