//! What the process does to itself before it holds a key: no core dumps, no tracer, and its descriptors counted.

use std::num::NonZeroU32;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::{Admin, Config, Limits, Tls};

/// Of one thread's runtime (tokio 1.54): epoll and a copy of it, an eventfd to wake it, a pipe that says that a signal came.
const RUNTIME: u64 = 4;
/// Standard streams, and the pipe of all signals.
const PROCESS: u64 = 3 + 2;
/// The files that are watched, by inotify.
const WATCH: u64 = 1;
/// Whatever is open for a moment: a file that is read, what `/proc` says, a caller of the admin listener too many.
const MOMENTARY: u64 = 5;
/// Places for callers of the admin listener, unless there are too few descriptors for so many.
const ADMIN_CALLERS: u64 = 32;
const FEWEST_ADMIN_CALLERS: u64 = 2;

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

/// What a gate holds open whether anybody connects or not.
#[derive(Debug, Clone, Copy)]
pub struct Fixed {
    /// Open before it starts: the process' own, and what it was born with.
    pub inherited: u64,
    /// Worker threads; each has a runtime and its own copy of every listener.
    pub threads: u64,
    /// Routes.
    pub listeners: u64,
    /// Files that are read, each in a folder of its own at worst.
    pub files: u64,
    /// True if there is an admin listener, with a thread of its own.
    pub admin: bool,
}

impl Fixed {
    /// What this configuration needs. To be asked on the first worker, before anything else is opened.
    pub fn of(config: &Config) -> Self {
        let Tls {
            client_ca,
            client_crl,
            ..
        } = &config.tls;
        // Without /proc: what an ordinary process has by now.
        let inherited =
            std::fs::read_dir("/proc/self/fd").map_or(0, |open| open.count() as u64 - 1);
        Self {
            inherited: inherited.max(PROCESS + RUNTIME),
            threads: config.threads.get() as u64,
            listeners: config.routes.len() as u64,
            files: 2 + (client_ca.len() + client_crl.len()) as u64,
            admin: config.admin != Admin::Off,
        }
    }

    fn count(self) -> u64 {
        let Self {
            inherited,
            threads,
            listeners,
            files,
            admin,
        } = self;
        let other_threads = threads.saturating_sub(1) + u64::from(admin);
        // Each worker may hold a socket that it accepted and is about to refuse.
        let workers = threads * (listeners + 1);
        inherited + other_threads * RUNTIME + workers + u64::from(admin) + WATCH + files + MOMENTARY
    }
}

/// How many there may be of everything that takes descriptors.
#[derive(Debug, Clone, Copy)]
pub struct Fitted {
    /// The caps of the gate.
    pub limits: Limits,
    /// How many may ask the admin listener at once.
    pub admin_callers: NonZeroU32,
    /// True if the configuration asks for more.
    pub lowered: bool,
}

/// Lowers the caps to what the descriptors allow: an admitted connection takes two, a handshake one. A quarter is kept
/// for handshakes, so that sessions cannot lock newcomers out.
///
/// # Errors
/// With how many it takes at least, if that is more.
pub fn fit(limits: Limits, descriptors: Option<u64>, fixed: Fixed) -> Result<Fitted, u64> {
    let at_most = |wanted: NonZeroU32, most: u64| {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN).min(wanted)
    };
    let callers = |most| at_most(NonZeroU32::MAX, most);
    let Some(descriptors) = descriptors else {
        return Ok(Fitted {
            limits,
            admin_callers: callers(ADMIN_CALLERS),
            lowered: false,
        });
    };
    // One session, one handshake.
    let least = fixed.count() + FEWEST_ADMIN_CALLERS + 3;
    if descriptors < least {
        return Err(least);
    }
    let free = descriptors - fixed.count();
    let admin_callers = (free / 8).clamp(FEWEST_ADMIN_CALLERS, ADMIN_CALLERS);
    let free = free - admin_callers;
    let handshakes = at_most(limits.handshakes, free / 4);
    let connections = at_most(limits.connections, (free - u64::from(handshakes.get())) / 2);
    Ok(Fitted {
        limits: Limits {
            connections,
            handshakes,
            ..limits
        },
        admin_callers: callers(admin_callers),
        lowered: handshakes < limits.handshakes || connections < limits.connections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Limits {
        Limits {
            connections: NonZeroU32::new(4096).unwrap(),
            connections_per_source: None,
            handshakes: NonZeroU32::new(256).unwrap(),
        }
    }

    fn fixed(threads: u64, listeners: u64) -> Fixed {
        Fixed {
            inherited: PROCESS + RUNTIME,
            threads,
            listeners,
            files: 3,
            admin: true,
        }
    }

    #[test]
    fn what_is_promised_fits_the_descriptors() {
        for (threads, listeners) in [(1, 1), (2, 1), (4, 1), (4, 20), (64, 50)] {
            let fixed = fixed(threads, listeners);
            for descriptors in (0..2_000).chain([8192, 1 << 20]) {
                let Ok(fitted) = fit(wanted(), Some(descriptors), fixed) else {
                    assert!(descriptors < fixed.count() + 5, "{descriptors}: {fixed:?}");
                    continue;
                };
                let Fitted {
                    limits,
                    admin_callers,
                    lowered,
                } = fitted;
                let (connections, handshakes) = (limits.connections.get(), limits.handshakes.get());
                let used = fixed.count()
                    + u64::from(connections) * 2
                    + u64::from(handshakes)
                    + u64::from(admin_callers.get());
                assert!(used <= descriptors, "{descriptors}: {fixed:?} {fitted:?}");
                assert_eq!(
                    lowered,
                    (connections, handshakes) != (4096, 256),
                    "{fitted:?}"
                );
            }
        }
        assert!(!fit(wanted(), None, fixed(4, 20)).unwrap().lowered);
    }

    #[test]
    fn every_worker_has_its_own_copy_of_every_listener() {
        let (one, more) = (fixed(2, 1), fixed(2, 21));
        assert_eq!(more.count() - one.count(), 2 * 20);
        let (one, more) = (fixed(1, 20), fixed(4, 20));
        assert_eq!(more.count() - one.count(), 3 * (20 + 1 + RUNTIME));
    }
}
