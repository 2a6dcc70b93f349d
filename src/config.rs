//! `RequestMetrics` documents to resolved specs.

pub mod autoscaler;
