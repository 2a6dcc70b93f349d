//! Taffrail answers one question of a Kubernetes service: how many pods does it need so that its users get their
//! answers in time? It reads request latency and request rate from pods and from Redis, and serves them to the
//! HorizontalPodAutoscaler as external metrics, so that an HPA scales on latency beside CPU.
//!
//! # The line
//!
//! ```text
//! discover --> scrape --> window --> signal --> snapshot --> serve
//! (objects     (pods,     \______ engine: pure ______/  (Arc)   (external.metrics.k8s.io over TLS)
//!  and pods,    Redis)
//!  or a file)
//! ```
//!
//! What is wanted comes from [`cluster::discover`], or from a file by way of [`config`]. A source reads its target and
//! sends an [`Update`](model::reading::Update); the [`pipeline`] owns the one [`Engine`](engine::Engine), feeds it, and
//! once a second publishes an immutable [`Snapshot`](engine::snapshot::Snapshot); every request of the API is answered
//! from the latest one.
//!
//! # The rooms
//!
//! | room | what is in it | kind |
//! |---|---|---|
//! | [`model`] | the nouns: timestamps, targets, readings, selectors, quantities | pure |
//! | [`exposition`] | a page of metrics to a reading: prefilter, scanner, reader | pure |
//! | [`engine`] | windows, quantiles, value states; ingest, forget, evaluate | pure |
//! | [`hpa`] | the HorizontalPodAutoscaler's arithmetic, as Kubernetes does it | pure |
//! | [`story`] | what one sync of an HPA saw and decided, told in sentences with numbers | pure |
//! | [`shadow`] | each HPA beside the real one: what it saw, should have decided and did, for an hour | pure |
//! | [`sim`] | a scenario in virtual time: pods that are computed, everything else as it is | pure |
//! | [`source`] | loops that read targets: [`source::scrape`] for pods, [`source::redis`] for Redis | edge |
//! | [`api`] | the aggregated API: who may ask, discovery, reads, TLS, and a delegate for what is not ours | edge |
//! | [`config`] | `RequestMetrics` and HPA documents to resolved specs | edge |
//! | [`cluster`] | the Kubernetes API: `RequestMetrics` objects, pods, secrets, status, the serving certificate | edge |
//! | [`metrics`] | what Taffrail says of itself: `/metrics` of the API's port, and of a second one without TLS | edge |
//! | [`pipeline`] | the loop that owns the engine: every way the adapter is woken, on one screen | edge |
//! | [`clock`] | the one reader of the clock | edge |
//! | [`cli`] | flags and subcommands | edge |
//! | [`serve`] | `taffrail serve`: wiring, start order, readiness, drain | command |
//! | [`replay`] | `taffrail replay`: recorded HPA decisions against [`hpa`] | command |
//! | [`simulate`] | `taffrail simulate`: a scenario in virtual time, judged and reported | command |
//! | [`lint`] | `taffrail lint`: mistakes in HPAs and what belongs to them, in files or in a cluster | command |
//! | [`check`] | `taffrail check`: whether the adapter is installed and answers, through the API server | command |
//! | [`explain`] | `taffrail explain`: an HPA of a cluster, and why it has the replicas it has | command |
//! | [`tune`] | `taffrail tune`: what a pod takes, fitted or told, and a better HPA for it, found in virtual time | command |
//! | [`demo`] | `taffrail demo`: pods, load, the API and an HPA on one machine | command |
//!
//! The load generator and the sample app live in `loadtest/`, which knows nothing of this crate. The demo, the simulator,
//! [`tune`] and [`hpa::told`] use its library: its scenarios, recordings and checks.
//!
//! # What never happens here
//!
//! 1. The pure rooms never read a clock, draw a random number, await, lock, log or touch the world. Time is an
//!    argument. They never panic; they return what happened. `tests/it/house.rs` holds this, and the table of who may
//!    name whom.
//! 2. Sources and the API never meet but in a snapshot.
//! 3. A request never waits for a scrape, a watch or Redis. It reads one snapshot, so one answer is of one instant.
//! 4. **Absent is not zero.** Too few points, a stale window, a lost target: the value is absent and the answer is a
//!    404 that says why. No traffic is zero, because that is knowledge.
//! 5. One bad line costs that line, one bad target that target, one bad document that document.
//! 6. Nothing is unbounded: each limit is a named constant with its reason, and hitting it is counted.
//! 7. Wall-clock timestamps are data; `tokio` instants are for timers at the edge. One is never made from the other.
//! 8. The same inputs give the same bytes: whatever is printed or served is in a fixed order.

pub mod model;

pub mod exposition;

pub mod engine;

pub mod hpa;

pub mod story;

pub mod shadow;

pub mod sim;

pub mod source;

pub mod api;

pub mod config;

pub mod cluster;

pub mod metrics;

pub mod pipeline;

pub mod clock;

pub mod cli;

pub mod serve;

pub mod replay;

pub mod simulate;

pub mod lint;

pub mod check;

pub mod explain;

pub mod tune;

pub mod demo;
