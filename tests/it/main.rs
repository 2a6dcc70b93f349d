//! The integration tests: one binary, since each one more would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop there"
)]

mod api;
mod dashboards;
mod demo;
mod deploy;
mod explain;
mod fixtures;
mod house;
mod lint;
mod misbehaving;
mod picture;
mod prometheus;
mod recording;
mod redis;
mod replay;
mod report;
mod rules;
mod scenarios;
mod scrape;
mod serve;
mod simulate;
mod tune;
