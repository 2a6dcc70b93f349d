//! `taffrail serve`: wiring, start order, readiness, drain.
