//! `taffrail serve` as users run it: the real program over its real API, from a configuration file and targets that
//! answer, fail, come and go. What single rooms do in detail is tested where they are.

mod config;
mod lifecycle;
mod own_metrics;
mod values;

use std::time::Duration;

use crate::fixtures::rogue::{self, Rogue};

/// Targets are read often and windows are short, so that stories are too.
const INTERVAL: Duration = Duration::from_millis(200);

/// A document of the namespace `shop` whose pods are `targets`.
fn document(name: &str, targets: &[String]) -> String {
    document_with(name, targets, "", "2s")
}

/// The same with further fields of `pods`, such as `histogram: a_seconds`, and another window.
fn document_with(name: &str, targets: &[String], pods: &str, window: &str) -> String {
    let targets = targets.join("\", \"");
    format!(
        "---\n\
         apiVersion: taffrail.dev/v1alpha1\n\
         kind: RequestMetrics\n\
         metadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  \
           source: {{pods: {{targets: [\"{targets}\"], {pods}}}}}\n  \
           window: {window}\n  \
           interval: {}ms\n  \
           objective: {{quantile: 0.95, latency: 250ms}}\n",
        INTERVAL.as_millis()
    )
}

/// The path of a read in the namespace `shop`.
fn read_of(metric: &str, selector: &str) -> String {
    let selector = selector.replace('=', "%3D").replace(',', "%2C");
    format!("/namespaces/shop/{metric}?labelSelector={selector}")
}

/// A target that answers 100 requests from one read to the next: 60 within 100 ms, 20 more within 250 ms, and the last
/// 20 within 500 ms.
async fn steady_target() -> Rogue {
    Rogue::answering(|_, nth| rogue::page(page("http_request_duration_seconds", 0, nth))).await
}

/// The page of a steady target at its `nth` read, which had `before` hundreds of requests before the first.
fn page(histogram: &str, before: usize, nth: usize) -> String {
    let hundreds = before + nth;
    format!(
        "# TYPE {histogram} histogram\n\
         {histogram}_bucket{{le=\"0.1\"}} {}\n\
         {histogram}_bucket{{le=\"0.25\"}} {}\n\
         {histogram}_bucket{{le=\"0.5\"}} {}\n\
         {histogram}_bucket{{le=\"+Inf\"}} {}\n\
         {histogram}_sum {}\n\
         {histogram}_count {}\n",
        60 * hundreds,
        80 * hundreds,
        100 * hundreds,
        100 * hundreds,
        15 * hundreds,
        100 * hundreds,
    )
}

fn address(target: &Rogue) -> String {
    format!("127.0.0.1:{}", target.port)
}

/// Whether a rate is that of so many steady targets. Reads are never quite on time, least of all on a busy machine.
fn is_rate_of(targets: usize) -> impl Fn(f64) -> bool {
    let rate = 100.0 * targets as f64 / INTERVAL.as_secs_f64();
    move |value| 0.7 * rate < value && value < 1.3 * rate
}
