//! The API server as discovery and observation need it: the way to it, one watch that tells when it fell silent, the
//! endpoints of a Service, the rights that all this takes, and what may be put under load. It changes nothing.

pub mod connect;
pub mod rights;
pub mod safety;
pub mod service;
pub(crate) mod watching;
