//! `taffrail demo`: pods, load, the API and an HPA on one machine.

pub mod picture;
pub mod report;
pub mod timeline;
