//! Reads a Redis server.
