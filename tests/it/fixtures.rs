//! What several tests need: free ports, temporary files, servers that end with the test.
// Test code, which the lint on `unwrap` sees by this attribute only.
#[cfg(test)]
pub(crate) mod redis_server;
