//! Open-loop load over HTTP, and the sample app that it drives. It knows nothing of the adapter: it checks it from
//! outside, and the demo uses both halves as a library.
//!
//! ```text
//! scenario --> arrivals --> engine --> measured --+
//! (a file)     (when each   (sends, whether or    |
//!               request      not answers came)    +--> recording --> judge --> report
//!               starts)                           |    (one clock)   (checks)  (JSON, JUnit, HTML, ...)
//!                           observe --------------+
//!                           (HPA, replicas, endpoints, metrics)
//! ```
//!
//! | room | what is in it | kind |
//! |---|---|---|
//! | [`scenario`] | what is run and what must hold, from a file | pure |
//! | [`profile`] | load as a function of time, and its shorthand | pure |
//! | [`arrivals`] | the exact, seeded moments at which requests start | pure |
//! | [`engine`] | the run: pacing, connections by endpoint | edge |
//! | [`measured`] | what came of the load: latencies, errors, seconds, endpoints | pure |
//! | [`steps`] | a number that changes in steps, as replicas do | pure |
//! | [`recording`] | everything seen of a run, on one clock | pure |
//! | [`judge`] | the verdict over a recording | pure |
//! | [`cluster`] | the API server: watches, endpoints of a Service, rights | edge |
//! | [`discovery`] | the backends of a target, as they come and go | edge |
//! | [`observe`] | what a cluster does meanwhile: HPA, replicas, endpoints, metrics | edge |
//! | [`report`] | recording and verdict as HTML, JSON, JUnit, Markdown, metrics, and on a terminal | pure |
//! | [`exposition`] | the page that Prometheus scrapes while a run goes on | edge |
//! | [`page`] | a `/metrics` page, as a test reads it | pure |
//! | [`service_time`] | how long a request's work takes, drawn from a seed | pure |
//! | [`sample_app`] | one configurable HTTP server | edge |
//! | [`cli`] | the flags, live lines and exit codes of `taffrail-loadtest` | edge |
//! | [`clock`] | the one reader of clocks | edge |
//!
//! A recording is written by whoever plays a scenario: `taffrail-loadtest run` in a cluster, and the adapter's own
//! commands on one machine and in virtual time. The checks are the same for all of them.
//!
//! Two rules make the figures true. **Latency counts from the moment a request should have started**, not from when it
//! was sent, so a stall of the server is felt by every request that it delays. **What was not sent is counted**: drops,
//! late sends and requests that were given up are part of every report.

pub mod scenario;

pub mod profile;

pub mod arrivals;

pub mod engine;

pub mod measured;

pub mod steps;

pub mod recording;

pub mod judge;

pub mod cluster;

pub mod discovery;

pub mod observe;

pub mod report;

pub mod exposition;

pub mod page;

pub mod service_time;

pub mod sample_app;

pub mod cli;

pub mod clock;
