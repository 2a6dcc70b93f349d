//! Loops that read targets and say what they saw.

pub mod redis;
pub mod scrape;
pub mod secret;
