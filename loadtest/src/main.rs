//! The load generator: run a profile, print a report.

fn main() {}
