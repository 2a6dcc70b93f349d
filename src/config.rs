//! `RequestMetrics` documents to resolved specs.
