//! What comes after the relaying: the last bytes on their way, and the ends that nobody has been told of.

use std::future::poll_fn;
use std::io::{Error, ErrorKind};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use super::{Pump, ROUNDS, Side};
use crate::gate::ending::{End, Flow, out_of_patience};

/// How often it is looked whether a client has everything.
const DELIVERY_LOOK: Duration = Duration::from_millis(20);
/// How long saying goodbye to both sides may take.
const FAREWELL: Duration = Duration::from_secs(1);

impl<C: Side, T: Side> Pump<'_, C, T> {
    /// Waits until a client that goes on sending has everything, or is gone; false if it takes nothing for this long.
    pub(super) async fn deliver(&mut self, limit: Duration) -> bool {
        let (mut last, mut before) = (Instant::now(), u32::MAX);
        loop {
            match self.client.unacknowledged() {
                None | Some(0) => return true,
                Some(now) if now < before => (last, before) = (Instant::now(), now),
                Some(_) if last.elapsed() >= limit => return false,
                Some(_) => {}
            }
            let client_ends = poll_fn(|cx| {
                for _ in 0..ROUNDS {
                    if self.upward != Flow::Deaf {
                        return Poll::Ready(());
                    }
                    ready!(self.poll_upward(cx));
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            });
            if timeout(DELIVERY_LOOK, client_ends).await.is_ok() {
                return true;
            }
        }
    }

    /// Tells those whose end is still open of it, if it is to be a clean one.
    pub(super) async fn give_up(&mut self, idle: Duration) -> End {
        let Self {
            upward, downward, ..
        } = *self;
        let unanswered = self.traffic.owes_an_answer();
        let waiting = !self.to_target.is_empty() || !self.to_client.is_empty();
        let ended = match out_of_patience(upward, downward, unanswered, waiting, idle) {
            End::Clean(ended) => ended,
            cut @ End::Cut(_) => return cut,
        };
        let Self {
            to_client,
            client,
            target,
            records,
            ..
        } = self;
        let farewell = async {
            if downward == Flow::Open {
                if !records.close_notify(to_client.end()) {
                    return Err(ErrorKind::Other.into());
                }
                poll_fn(|cx| to_client.poll_flush(cx, client, |_| {})).await?;
                client.shutdown().await?;
            }
            if upward == Flow::Open {
                target.shutdown().await?;
            }
            Ok::<(), Error>(())
        };
        match timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => End::Clean(ended),
            Ok(Err(_)) | Err(_) => End::Cut(ended),
        }
    }
}
