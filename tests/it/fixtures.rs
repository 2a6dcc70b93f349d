//! What several tests need: free ports, temporary files, servers that end with the test.
pub mod redis_server;
