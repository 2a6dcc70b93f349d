//! Reads pods over HTTP.
