//! `taffrail explain` as its user runs it, against an API server made of prepared answers; and the story of every recorded
//! decision of real HPAs.

mod command;
mod recordings;
