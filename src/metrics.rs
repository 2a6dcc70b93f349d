//! What Taffrail says of itself.
