//! The nouns: plain data that every room may name and that names no room.

pub mod cause;
pub mod health;
pub mod id;
pub mod matcher;
pub mod phase;
pub mod pod;
pub mod quantity;
pub mod reading;
pub mod selector;
pub mod time;
pub mod unit;
