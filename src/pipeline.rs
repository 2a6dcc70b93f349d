//! The loop that owns the engine.
