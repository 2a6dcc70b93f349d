//! Open-loop load over HTTP, and the sample app that it drives. It knows nothing of the adapter: it checks it from
//! outside, and the demo uses both halves as a library.
//!
//! ```text
//! profile --> arrivals --> engine --> report          sample_app: workers, a queue, /metrics, probes
//! (rate by    (when each   (sends, whether or
//!  time)       request      not answers came)         page: reads what /metrics says
//!              starts)
//! ```
//!
//! | room | what is in it | kind |
//! |---|---|---|
//! | [`profile`] | load as a function of time, and its shorthand | pure |
//! | [`arrivals`] | the exact, seeded moments at which requests start | pure |
//! | [`engine`] | the run: pacing, connections by endpoint, recording | edge |
//! | [`report`] | what came of it: latencies, errors, seconds, endpoints | pure |
//! | [`page`] | a `/metrics` page, as a test reads it | pure |
//! | [`sample_app`] | one configurable HTTP server | edge |
//! | [`cli`] | the flags, live lines and exit codes of `taffrail-loadtest` | edge |
//! | [`clock`] | the one reader of clocks | edge |
//!
//! Two rules make the figures true. **Latency counts from the moment a request should have started**, not from when it
//! was sent, so a stall of the server is felt by every request that it delays. **What was not sent is counted**: drops,
//! late sends and requests that were given up are part of every report.

pub mod profile;

pub mod arrivals;

pub mod engine;

pub mod report;

pub mod page;

pub mod sample_app;

pub mod cli;

pub mod clock;
