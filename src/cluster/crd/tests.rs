//! Holds that schema and resolver agree.
