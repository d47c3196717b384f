//! skeleton
pub mod admin;
pub mod cli;
pub mod config;
pub mod event;
pub mod gate;
pub mod harden;
pub mod identity;
pub mod lifecycle;
pub mod listen;
pub mod policy;
pub mod serve;
pub mod telemetry;
pub mod trust;
