//! The aggregated API: discovery, reads, TLS.
