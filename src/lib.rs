//! skeleton
pub mod cli;
pub mod serve;
pub mod admin;
pub mod gate;
pub mod trust;
pub mod telemetry;
pub mod listen;
pub mod harden;
pub mod config;
pub mod event;
pub mod policy;
pub mod identity;
pub mod lifecycle;
