//! The API server as discovery and observation need it: the way to it, one watch that tells when it fell silent, the
//! endpoints of a Service, and the rights that all this takes. It only ever reads.

pub mod connect;
pub mod rights;
pub mod service;
pub(crate) mod watching;
