//! The live picture.
