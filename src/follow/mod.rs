//! Keeps the published generation in step with the files: [`watch`] says that they may have changed, [`reload`] reads,
//! has them judged and publishes. Never sees a client.

pub mod exposed;
mod look;
pub mod reload;
pub mod watch;
