//! Every metric at one instant.
