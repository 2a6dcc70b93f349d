//! What a saved page of metrics tells of a RequestMetrics: whether the histogram is there, in which unit, and whether its
//! bounds can show the objective.

use std::net::{IpAddr, Ipv4Addr};

use super::num;
use crate::exposition::Want;
use crate::lint::page::{Page, finite_bounds};
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::Service;
use crate::lint::world::World;
use crate::model::id::{ServiceId, TargetId};
use crate::source::SourceSpec;

/// Bounds around the objective that are this close need none at it: what is read between them is off by less than the
/// 10 % that an HPA ignores.
const FINE_BOUNDS: f64 = 1.1;

/// A histogram of requests in seconds whose highest bound is above this, a quarter of an hour, counts milliseconds.
const SECONDS_MAX: f64 = 900.0;

/// A histogram in milliseconds whose highest bound is below this, a tenth of a millisecond to most, counts seconds.
const MILLISECONDS_MIN: f64 = 0.1;

/// Labels that tell of a request's path.
const PATH_LABELS: [&str; 7] = [
    "route",
    "path",
    "handler",
    "uri",
    "url",
    "endpoint",
    "http_route",
];

/// Paths that only machines ask for.
const PROBES: &str =
    "/?(api/)?(healthz?|healthcheck|readyz?|readiness|livez?|liveness|metrics|ping|status)/?";

/// One series of a histogram.
macro_rules! series {
    ($name:expr, $labels:expr, $($bound:literal: $count:literal),+) => {
        concat!(
            $($name, "_bucket{", $labels, ",le=\"", $bound, "\"} ", $count, "\n",)+
            $name, "_sum{", $labels, "} 90\n",
            $name, "_count{", $labels, "} 1000\n"
        )
    };
}

/// A page with a histogram of one series, and a gauge.
macro_rules! page {
    ($name:expr, $labels:expr, $($bound:literal: $count:literal),+) => {
        concat!(
            "# TYPE ", $name, " histogram\n",
            series!($name, $labels, $($bound: $count),+),
            "# TYPE http_requests_in_flight gauge\nhttp_requests_in_flight 3\n"
        )
    };
}

/// A page with bounds at 100, 250 and 1000 ms.
const PAGE: &str = page!(
    "http_request_duration_seconds", "route=\"/\"", "0.1": 900, "0.25": 950, "1": 990, "+Inf": 1000
);

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "histogram-missing",
        severity: Severity::Error,
        title: "The page has no histogram of that name, or none that can be read",
        why: "Without its histogram a service has neither rate nor latency: its metrics are unknown, and HPAs hold.",
        fix: "write the name as it stands on the page, without _bucket",
        wrong: service_of!(
            "selector: {matchLabels: {app: users}}, histogram: http_requests_duration_seconds"
        ),
        right: service_of!(
            "selector: {matchLabels: {app: users}}, histogram: http_request_duration_seconds"
        ),
        page: Some(PAGE),
        check: histogram_missing,
    },
    Rule {
        id: "bound-missing",
        severity: Severity::Warning,
        title: "No bucket bound lies at the objective",
        why: "Between two bounds a histogram knows nothing: a quantile is drawn as a straight line between them, and \
              is off by up to what lies between. The share of requests above a bound is exact.",
        fix: "add a bound at the objective to the app's histogram, and some around it",
        wrong: service!("objective: {quantile: 0.95, latency: 300ms}"),
        right: service!("objective: {quantile: 0.95, latency: 250ms}"),
        page: Some(PAGE),
        check: bound_missing,
    },
    Rule {
        id: "bound-beyond",
        severity: Severity::Error,
        title: "No bucket bound lies above the objective",
        why: "A quantile beyond the highest bound is reported as that bound, however slow requests are. The metric \
              can never exceed its target, and the HPA never adds a pod.",
        fix: "add bounds above the objective, up to several times of it",
        wrong: service!("objective: {quantile: 0.95, latency: 1s}"),
        right: service!("objective: {quantile: 0.95, latency: 250ms}"),
        page: Some(PAGE),
        check: bound_beyond,
    },
    Rule {
        id: "histogram-unit",
        severity: Severity::Error,
        title: "The histogram counts in another unit than it is read in",
        why: "A histogram is read in seconds unless its name ends in _milliseconds or _ms. Bounds of 5 to 10000 that \
              are milliseconds make every latency a thousand times too long, and the service sits at maxReplicas.",
        fix: "unit: milliseconds in the RequestMetrics, beside the histogram",
        wrong: service!("objective: {quantile: 0.95, latency: 250ms}"),
        right: service_of!(
            "selector: {matchLabels: {app: users}}, unit: milliseconds",
            "objective: {quantile: 0.95, latency: 250ms}",
        ),
        page: Some(
            page!("http_request_duration", "route=\"/\"", "10": 900, "250": 950, "1000": 990, "+Inf": 1000),
        ),
        check: histogram_unit,
    },
    Rule {
        id: "where-matches-nothing",
        severity: Severity::Error,
        title: "No series of the histogram matches `where`",
        why: "A matcher on a label that no series has leaves nothing in, and the service looks as if nobody asked it \
              for anything: rate 0, latency 0, and the HPA scales in.",
        fix: "write a label of the histogram's series, with a value that it has",
        wrong: service_of!("selector: {matchLabels: {app: users}}, where: 'path=\"/\"'"),
        right: service_of!("selector: {matchLabels: {app: users}}, where: 'route=\"/\"'"),
        page: Some(PAGE),
        check: where_matches_nothing,
    },
    Rule {
        id: "probes-counted",
        severity: Severity::Warning,
        title: "Requests of probes are counted among those of users",
        why: "A probe is answered in a millisecond. Where few users ask, most requests are probes, and a quantile \
              over all of them is that of the probes.",
        fix: "leave them out by where: 'route!~\"/(healthz|readyz|metrics)\"'",
        wrong: service!("window: 30s"),
        right: service_of!("selector: {matchLabels: {app: users}}, where: 'route!=\"/healthz\"'"),
        page: Some(concat!(
            page!("http_request_duration_seconds", "route=\"/\"", "0.1": 900, "1": 990, "+Inf": 1000),
            series!("http_request_duration_seconds", "route=\"/healthz\"", "0.1": 1000, "+Inf": 1000)
        )),
        check: probes_counted,
    },
    Rule {
        id: "page-lacks-metric",
        severity: Severity::Warning,
        title: "The page lacks a gauge or a counter that is asked for",
        why: "What is not there is left out without a word: arrivals are then completions, which saturate under \
              overload.",
        fix: "write the name as it stands on the page",
        wrong: service_of!("selector: {matchLabels: {app: users}}, inFlight: requests_in_flight"),
        right: service!("window: 30s"),
        page: Some(PAGE),
        check: page_lacks_metric,
    },
];

/// The services of which there is a page, and what the adapter wants of it.
fn paged<'x, 'w>(world: &'x World<'w>) -> impl Iterator<Item = (&'x Service<'w>, &'x Page, Want)> {
    world.services.iter().filter_map(|service| {
        let page = world.beside.pages.get(&service.known.object.name)?;
        Some((service, page, want(service)?))
    })
}

/// What the adapter reads of each of its pages.
fn want(service: &Service<'_>) -> Option<Want> {
    let object = service.resolved.as_ref().ok()?;
    let source = match &object.pods {
        Some(pods) => {
            let target = TargetId::new(&ServiceId::new("", ""), "page");
            pods.source(target, IpAddr::V4(Ipv4Addr::LOCALHOST), 1)
        }
        None => object.service.sources.first()?.clone(),
    };
    match source {
        SourceSpec::Scrape(spec) => Some(spec.want),
        SourceSpec::Redis(_) => None,
    }
}

fn histogram_missing(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let Err(failure) = page.read(&want) else {
            continue;
        };
        let pods = service.pods().unwrap_or(service.spec);
        out.at(
            &service.known,
            pods.get("histogram").unwrap_or(pods),
            failure.message,
            "the service has neither rate nor latency, and its HPAs hold",
            "histogram: the name on the page",
        );
    }
}

fn bound_missing(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let (Ok(reading), Some(objective)) = (page.read(&want), service.objective()) else {
            continue;
        };
        let promised = objective.latency.as_secs_f64();
        let bounds = finite_bounds(&reading);
        let above = bounds.iter().copied().find(|bound| promised <= *bound);
        let below = bounds
            .iter()
            .copied()
            .rfind(|bound| *bound <= promised)
            .unwrap_or(0.0);
        let Some(above) = above.filter(|above| below < promised && promised < *above) else {
            continue;
        };
        if 0.0 < below && above <= below * FINE_BOUNDS {
            continue;
        }
        let node = service
            .spec
            .at(&["objective", "latency"])
            .unwrap_or(service.spec);
        let ms = |seconds: f64| num(seconds * 1000.0);
        out.at(
            &service.known,
            node,
            format!("the objective of {} ms lies between the bounds {} and {} ms", ms(promised), ms(below), ms(above)),
            format!(
                "a quantile there may be anything from {} to {} ms, whatever requests take, and the share of slow \
                 ones is a guess",
                ms(below),
                ms(above)
            ),
            format!("add the bound {} to the histogram of the app, or promise {} ms", num(promised), ms(above)),
        );
    }
}

fn bound_beyond(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let (Ok(reading), Some(objective)) = (page.read(&want), service.objective()) else {
            continue;
        };
        let promised = objective.latency.as_secs_f64();
        let Some(highest) = finite_bounds(&reading)
            .last()
            .copied()
            .filter(|bound| *bound <= promised)
        else {
            continue;
        };
        let node = service
            .spec
            .at(&["objective", "latency"])
            .unwrap_or(service.spec);
        out.at(
            &service.known,
            node,
            format!(
                "the highest bound is {} ms, and {} ms were promised",
                num(highest * 1000.0),
                num(promised * 1000.0)
            ),
            format!(
                "request_latency_ms is never above {}, so no target of {} or more is ever exceeded",
                num(highest * 1000.0),
                num(highest * 1000.0)
            ),
            format!(
                "add the bounds {} and {} to the histogram of the app",
                num(promised * 2.0),
                num(promised * 4.0)
            ),
        );
    }
}

fn histogram_unit(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let Ok(reading) = page.read(&want) else {
            continue;
        };
        let Some(highest) = finite_bounds(&reading).last().copied() else {
            continue;
        };
        let promised = service
            .objective()
            .map(|objective| objective.latency.as_secs_f64());
        // The objective's bound is there, a thousand times too high.
        let is_there = |factor: f64| {
            promised.is_some_and(|s| {
                reading
                    .bounds
                    .iter()
                    .any(|bound| (bound - s * factor).abs() < 1e-9 * bound.abs())
            })
        };
        let is_long = SECONDS_MAX < highest || (60.0 < highest && is_there(1000.0));
        let is_short = highest * 1000.0 < MILLISECONDS_MIN;
        let (unit, factor) = match (is_long, is_short) {
            (true, _) => (
                "milliseconds",
                "a thousand times too long: the HPA goes to maxReplicas",
            ),
            (_, true) => (
                "seconds",
                "a thousand times too short: the HPA never adds a pod",
            ),
            _ => continue,
        };
        let pods = service.pods().unwrap_or(service.spec);
        out.at(
            &service.known,
            pods.get("unit").or(pods.get("histogram")).unwrap_or(pods),
            format!("the highest bound is read as {} s", num(highest)),
            format!("no request takes that; every latency is {factor}"),
            format!("unit: {unit}"),
        );
    }
}

fn where_matches_nothing(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let all = Want {
            matchers: crate::model::matcher::Matchers::default(),
            ..want.clone()
        };
        let (Ok(some), Ok(all)) = (page.read(&want), page.read(&all)) else {
            continue;
        };
        if want.matchers.is_empty() || !some.series.is_empty() || all.series.is_empty() {
            continue;
        }
        let pods = service.pods().unwrap_or(service.spec);
        out.at(
            &service.known,
            pods.get("where").unwrap_or(pods),
            format!(
                "{} matches none of the {} series",
                want.matchers.source(),
                all.series.len()
            ),
            "the service looks idle: rate 0 and latency 0, and the HPA removes its pods",
            "where: a label that the series have",
        );
    }
}

fn probes_counted(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let Ok(reading) = page.read(&want) else {
            continue;
        };
        let total: f64 = reading.series.iter().map(|series| series.count).sum();
        let source = want.matchers.source();
        for label in PATH_LABELS {
            let and = if source.is_empty() { "" } else { "," };
            let matchers = format!("{source}{and}{label}=~\"{PROBES}\"");
            // Of the same paths that were counted, beside what is left out already.
            let without = format!("{source}{and}{label}!~\"{PROBES}\"");
            let Some(probes) = page
                .requests(&want, &matchers)
                .filter(|probes| 0.0 < *probes)
            else {
                continue;
            };
            let pods = service.pods().unwrap_or(service.spec);
            out.at(
                &service.known,
                pods.get("where").unwrap_or(pods),
                format!("{} of {} requests on the page are of probes, by their {label}", num(probes), num(total)),
                format!(
                    "{} % of what a quantile is taken of is answered in no time, so users may wait long before it \
                     shows",
                    num((probes / total.max(1.0) * 100.0).round())
                ),
                format!("where: '{}'", without.replace('\'', "''")),
            );
            break;
        }
    }
}

fn page_lacks_metric(world: &World<'_>, out: &mut Out<'_>) {
    for (service, page, want) in paged(world) {
        let Ok(reading) = page.read(&want) else {
            continue;
        };
        let pods = service.pods().unwrap_or(service.spec);
        for (is_missing, field, hurts) in [
            (
                reading.missing.in_flight,
                "inFlight",
                "arrivals are then completions, which saturate under overload",
            ),
            (
                reading.missing.cpu,
                "cpu",
                "a version that needs more CPU for a request is not noticed",
            ),
        ] {
            let Some(node) = pods.get(field).filter(|_| is_missing) else {
                continue;
            };
            out.at(
                &service.known,
                node,
                format!("the page has no {}", node.text().unwrap_or_default()),
                hurts,
                format!("{field}: the name on the page"),
            );
        }
    }
}
