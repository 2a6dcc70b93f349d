//! `taffrail demo`: pods, load, the API and an HPA on one machine.
