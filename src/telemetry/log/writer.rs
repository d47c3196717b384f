//! The thread that writes what waits in the queue. Only this one ever waits for whoever reads standard error.

use std::io::Result;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};

use super::queue::Queue;

/// It calls `write` and puts short lines together.
const STACK: usize = 128 * 1024;

/// Starts the thread. It ends with the process, whatever it waits for.
pub(super) fn start(queue: &Arc<Queue>) -> Result<()> {
    let queue = Arc::clone(queue);
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.stack_size(STACK).spawn(move || {
        loop {
            let lines = queue.next();
            let written = write_all(&lines);
            queue.written(lines, written);
        }
    })?;
    Ok(())
}

/// Returns how much was written: less than all if nobody can read it.
fn write_all(bytes: &[u8]) -> usize {
    // Not through the lock of `std`: whoever prints a last word must not wait for it.
    let stderr = std::io::stderr();
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match write(&stderr, rest) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            // Somebody else has made it so that writing does not wait.
            Err(Errno::AGAIN) => {
                let mut room = [PollFd::new(&stderr, PollFlags::OUT)];
                match poll(&mut room, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => break,
                }
            }
            Err(_) => break,
        }
    }
    written
}
