//! The load generator: see the workspace README.
