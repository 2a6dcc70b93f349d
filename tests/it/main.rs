//! The integration tests: one binary, since each one more would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop there"
)]

mod api;
mod chart;
mod check;
mod dashboards;
mod demo;
mod deploy;
mod documents;
mod explain;
mod fixtures;
mod house;
mod image;
mod lint;
mod manifests;
mod misbehaving;
mod picture;
mod pipelines;
mod prometheus;
mod recording;
mod redis;
mod replay;
mod report;
mod rules;
mod samples;
mod scenarios;
mod scrape;
mod serve;
mod simulate;
mod tune;
