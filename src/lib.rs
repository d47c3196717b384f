//! skeleton
pub mod config;
pub mod event;
pub mod identity;
pub mod lifecycle;
pub mod policy;
pub mod telemetry;
pub mod trust;
