//! The gate as its users meet it: the real binary with real files, spoken to by real peers. One module per promise;
//! `support` is what they all stand on.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

mod admin;
mod admit;
mod budget;
mod commands;
mod config;
mod deploy_prometheus;
mod descriptors;
mod drain;
mod ends;
mod evict;
mod files;
mod floods;
mod handshake;
mod image;
mod leaving;
mod limits;
mod log;
mod oracle;
mod own;
mod prometheus;
mod proxy;
mod record;
mod refusals;
mod relay;
mod reload;
mod resume;
mod strangers;
