//! The API over real sockets: the conformance assertions of an external metrics server, by their number.
//!
//! In [`authentication`] (9, 14, 44 to 57) a [`control_plane`] of the test's own answers reviews, for it can count
//! them, fail and be late; the real one is asked in `tests/cluster`. 60 to 68 are those of [`custom`] metrics; 69 to 75
//! are about the HPA controller, which runs in `tests/cluster`. [`explain`] is about our own group, which is held to
//! what a client of any group may expect.

mod authentication;
mod control_plane;
mod custom;
mod delegate;
mod discovery;
mod explain;
mod fixture;
mod frames;
mod guarded;
mod reads;
mod transport;
