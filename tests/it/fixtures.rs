//! What several tests need: free ports, temporary files, servers that end with the test.

pub(crate) mod adapter;
pub(crate) mod api_server;
pub(crate) mod authority;
pub(crate) mod objects;
pub(crate) mod prometheus_server;
pub(crate) mod redis_server;
pub(crate) mod restricted;
pub(crate) mod rogue;
pub(crate) mod tools;

use std::net::TcpListener;

/// A port that was free a moment ago, for a server that cannot be given a listener. Another process may take it in
/// between; the kernel hands out ports in turn, which makes that rare.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port()
}
