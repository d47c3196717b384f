//! A setting that somebody wrote, or that this machine chose because nobody did.
//!
//! Its own file because such a default may be another one each time it is asked for (the CPU quota was changed, the
//! terminal is gone), and that is no setting that somebody changed. Asks the machine nothing itself; `parse` does.

use std::ops::Deref;

/// A value, and who chose it.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<T> {
    value: T,
    by_machine: bool,
}

impl<T> Chosen<T> {
    /// Somebody wrote it.
    pub const fn written(value: T) -> Self {
        Self {
            value,
            by_machine: false,
        }
    }

    /// Nobody wrote it.
    pub(super) const fn by_machine(value: T) -> Self {
        Self {
            value,
            by_machine: true,
        }
    }

    /// True if nobody wrote it.
    pub(super) fn is_by_machine(&self) -> bool {
        self.by_machine
    }
}

impl<T> Deref for Chosen<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
