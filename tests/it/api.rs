//! The API over real sockets: the conformance assertions of an external metrics server, by their number.
//!
//! Not here, because they need to know who asks, which comes with Kubernetes: 9 (the fallback identity is authorized),
//! 14 (`/metrics`, which is on a port of its own) and 44 to 57 (authentication and authorization). 60 to 68 are of
//! `custom.metrics.k8s.io`, which is not served; 69 to 75 need a cluster.

mod delegate;
mod discovery;
mod fixture;
mod frames;
mod reads;
mod transport;
