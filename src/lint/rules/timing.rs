//! Windows, scrapes and the HPA's sync: how many reads a value is made of, and how late it tells.

use std::time::Duration;

use super::{num, secs};
use crate::config::tree::Node;
use crate::hpa::SYNC_PERIOD;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{DEFAULT_WINDOW, Service};
use crate::lint::world::World;

/// Reads in a window below which one lost read shows in the value.
const READS_WANTED: u32 = 4;

/// A rate needs two.
const READS_MIN: u32 = 2;

/// A window that is longer than this tells too late for an HPA to be stable on a latency.
const WINDOW_MAX: Duration = Duration::from_secs(120);

/// How often targets are read where nothing is said.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "window-two-scrapes",
        severity: Severity::Error,
        title: "The window is shorter than two scrapes",
        why: "A rate is the difference of two reads. A window that cannot hold two has no value, and the adapter \
              refuses the RequestMetrics.",
        fix: "a window of at least four intervals",
        wrong: service!("window: 30s", "interval: 20s"),
        right: service!("window: 30s", "interval: 5s"),
        page: None,
        check: window_two_scrapes,
    },
    Rule {
        id: "window-few-scrapes",
        severity: Severity::Warning,
        title: "The window holds fewer than four scrapes",
        why: "A late or lost scrape then takes a third or more of what the window saw, a new pod has no value until \
              it is nearly over, and each value jumps as reads come and go.",
        fix: "a shorter interval, or a longer window",
        wrong: service!("window: 30s", "interval: 12s"),
        right: service!("window: 30s", "interval: 5s"),
        page: None,
        check: window_few_scrapes,
    },
    Rule {
        id: "scrape-slower-than-sync",
        severity: Severity::Warning,
        title: "Pods are read less often than the HPA looks",
        why: "The HPA looks every 15 s and does not know how old a value is. Between two reads it sees the same \
              number again and answers it again.",
        fix: "interval: 5s, which is three reads between two looks",
        wrong: service!("window: 4m", "interval: 30s"),
        right: service!("window: 30s", "interval: 5s"),
        page: None,
        check: scrape_slower_than_sync,
    },
    Rule {
        id: "window-long",
        severity: Severity::Warning,
        title: "The window is so long that the HPA answers the past",
        why: "On average a value is as old as half its window. An HPA that multiplies by a ratio is stable only while \
              the metric grows by less than 2 cos(d pi / (2d + 1)) per cent for each per cent of load, d being the \
              delay in syncs: 1 at one sync, 0.35 at four, 0.15 at ten. A latency near its knee grows by more than 1.",
        fix: "window: 30s, and stabilizationWindowSeconds for calm",
        wrong: service!("window: 5m", "interval: 5s"),
        right: service!("window: 30s", "interval: 5s"),
        page: None,
        check: window_long,
    },
];

/// A duration of the spec, where it is written and one.
fn written<'w>(service: &Service<'w>, field: &str) -> Option<(&'w Node, Duration)> {
    let node = service.spec.get(field)?;
    Some((node, humantime::parse_duration(node.text()?).ok()?))
}

/// Where to point, the window and the interval, whether they may be or not.
fn timing<'w>(service: &Service<'w>) -> (&'w Node, Duration, Duration) {
    let (window, interval) = (written(service, "window"), written(service, "interval"));
    let node = interval.or(window).map_or(service.spec, |(node, _)| node);
    let interval = interval.map_or(DEFAULT_INTERVAL, |(_, interval)| interval);
    let shortest = interval.saturating_mul(READS_MIN);
    let window = window.map_or(DEFAULT_WINDOW.max(shortest), |(_, window)| window);
    (node, window, interval)
}

fn window_two_scrapes(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let (node, window, interval) = timing(service);
        if interval.saturating_mul(READS_MIN) <= window {
            continue;
        }
        out.at(
            &service.known,
            node,
            format!(
                "a window of {} with a read every {}",
                secs(window),
                secs(interval)
            ),
            "most windows hold one read, and one read is no rate: the adapter refuses the object",
            format!("interval: {}", spelled(window / READS_WANTED)),
        );
    }
}

/// A duration for a file, in whole seconds where it has some.
fn spelled(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if 0 < seconds {
        format!("{seconds}s")
    } else {
        format!("{}ms", duration.as_millis().max(100))
    }
}

fn window_few_scrapes(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let (node, window, interval) = timing(service);
        let reads = window.as_secs_f64() / interval.as_secs_f64().max(1e-3);
        if reads < f64::from(READS_MIN) || f64::from(READS_WANTED) <= reads {
            continue;
        }
        out.at(
            &service.known,
            node,
            format!(
                "a window of {} holds {} reads",
                secs(window),
                num(reads.floor())
            ),
            format!(
                "one read that fails takes {} % of what the window saw",
                num((100.0 / reads).round())
            ),
            format!("interval: {}", spelled(window / 6)),
        );
    }
}

fn scrape_slower_than_sync(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let (node, _, interval) = timing(service);
        if interval <= SYNC_PERIOD {
            continue;
        }
        let looks = interval.as_secs_f64() / SYNC_PERIOD.as_secs_f64();
        out.at(
            &service.known,
            node,
            format!(
                "pods are read every {}, and the HPA looks every {}",
                secs(interval),
                secs(SYNC_PERIOD)
            ),
            format!(
                "each value is answered {} times before the next one tells what came of it",
                num(looks.ceil())
            ),
            "interval: 5s",
        );
    }
}

fn window_long(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let (_, window, interval) = timing(service);
        if window <= WINDOW_MAX || interval.saturating_mul(READS_MIN) > window {
            continue;
        }
        let age_s = window.saturating_add(interval).as_secs_f64() / 2.0;
        // A value waits half a sync until it is read.
        let delay = age_s / SYNC_PERIOD.as_secs_f64() + 0.5;
        let bound = 2.0 * (delay * std::f64::consts::PI / (2.0 * delay + 1.0)).cos();
        out.at(
            &service.known,
            service.spec.get("window").unwrap_or(service.spec),
            format!("a window of {}", secs(window)),
            format!(
                "values tell of {} ago, {} syncs: an HPA is stable on them only while they grow by less than {} % for \
                 1 % of load",
                secs(Duration::from_secs_f64(age_s.round())),
                num((age_s / SYNC_PERIOD.as_secs_f64()).round()),
                num((bound * 100.0).round() / 100.0),
            ),
            "window: 30s",
        );
    }
}
