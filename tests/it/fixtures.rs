//! What several tests need: free ports, temporary files, servers that end with the test.

pub(crate) mod adapter;
pub(crate) mod authority;
pub(crate) mod redis_server;
pub(crate) mod rogue;
