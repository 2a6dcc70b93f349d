//! Windows, quantiles, value states: ingest, forget, evaluate.

pub mod snapshot;
