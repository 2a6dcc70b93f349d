//! What several tests need: free ports, temporary files, servers that end with the test.

pub mod authority;
pub mod redis_server;
pub mod rogue;
