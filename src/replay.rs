//! `taffrail replay`: recorded HPA decisions against our HPA model.
