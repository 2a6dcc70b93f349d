//! Targets that are well-formed and do not do what is meant: beyond the objective, within the noise, or alone.

use crate::engine::snapshot::Metric as Served;
use crate::hpa::spec::TOLERANCE;

use super::target::each_metric;
use super::{num, secs};
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{DEFAULT_WINDOW, Hpa, Metric, Service};
use crate::lint::world::World;

/// The scatter of latencies that noise is reckoned with: log-normal, with a standard deviation as large as the mean,
/// whose logarithm scatters by the root of ln 2.
const LOG_SCATTER: f64 = 0.832_554_611;

/// Where nobody knows the rate, one that asks for more requests a second than this says so all the same.
const ASKED_RATE_MAX: f64 = 100.0;

/// What a quantile is of its target far below the knee, where pods do not matter: p95 of a lightly loaded service.
const IDLE_SHARE: f64 = 0.4;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "quantile-alone",
        severity: Severity::Warning,
        title: "A latency is the only metric",
        why: "The HPA expects a metric that falls in proportion as pods come. A latency is flat until pods are nearly \
              busy, then explodes. Below the knee it says nothing of how many pods are needed, so the HPA lets most \
              of them go; at the knee it asks for many times too many. The replicas saw between both.",
        fix: "add a metric that grows with the load: CPU, or request_rate with what one pod answers in time; the HPA \
              takes the highest",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 20",
            "metrics:",
            p95!("type: Value, value: \"250\"")
        ),
        right: right_hpa!(),
        page: None,
        check: quantile_alone,
    },
    Rule {
        id: "quantile-noisy",
        severity: Severity::Warning,
        title: "The tolerance of a quantile is within its noise",
        why: "A quantile of few requests jumps about although nothing changed: of n requests a p95 scatters by about \
              176 % / sqrt(n), a p99 by 311 % / sqrt(n). The HPA takes the highest of 300 s, so noise only ever adds \
              pods. A tolerance that is smaller than the scatter lets every jump through.",
        fix: "take a lower quantile or a longer window, or scale on request_rate where there are few requests",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                external!(
                    "name: request_latency_ms, selector: {matchLabels: {service: users, quantile: \"0.99\"}}",
                    "type: Value, value: \"250\""
                ),
                rate!("type: AverageValue, averageValue: \"5\""),
            ),
            service!("window: 30s", "objective: {quantile: 0.99, latency: 250ms}"),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                external!(
                    "name: request_latency_ms, selector: {matchLabels: {service: users, quantile: \"0.9\"}}",
                    "type: Value, value: \"250\""
                ),
                rate!("type: AverageValue, averageValue: \"5\""),
            ),
            service!("window: 30s", "objective: {quantile: 0.9, latency: 250ms}"),
        ),
        page: None,
        check: quantile_noisy,
    },
    Rule {
        id: "target-beyond-objective",
        severity: Severity::Warning,
        title: "The HPA acts only well beyond the objective",
        why: "A pod is added when the metric is above its target by more than the tolerance, 10 % by default. Where \
              that lies well above what was promised, users wait too long and the HPA is content.",
        fix: "put the target at the objective or below, and leave the tolerance as it is or make it smaller",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"400\"")
            ),
            service!("objective: {quantile: 0.95, latency: 250ms}"),
        ),
        right: documents!(
            right_hpa!(),
            service!("objective: {quantile: 0.95, latency: 250ms}")
        ),
        page: None,
        check: target_beyond_objective,
    },
    Rule {
        id: "quantile-differs",
        severity: Severity::Warning,
        title: "The HPA scales on another quantile than the objective's",
        why: "What was promised for one quantile is held by another: with a p95 at the latency that was promised for \
              p99, one request in twenty is slower where one in a hundred may be.",
        fix: "select the objective's quantile, or leave the label out, which means the same",
        wrong: documents!(
            right_hpa!(),
            service!("objective: {quantile: 0.99, latency: 250ms}")
        ),
        right: documents!(
            right_hpa!(),
            service!("objective: {quantile: 0.95, latency: 250ms}")
        ),
        page: None,
        check: quantile_differs,
    },
    Rule {
        id: "tolerance-zero",
        severity: Severity::Warning,
        title: "A tolerance of nothing",
        why: "The HPA then answers to the third digit of a metric. No signal is that steady, so the replicas never \
              are.",
        fix: "leave tolerance out, which is 0.1, or write no less than 0.02",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {tolerance: \"0\"}}",
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {tolerance: \"0.05\"}}",
        ),
        page: None,
        check: tolerance_zero,
    },
];

/// The least tolerance that is no mistake.
const TOLERANCE_MIN: f64 = 0.01;

fn quantile_alone(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let steep = hpa.steep().count();
        if steep == 0 || steep != hpa.metrics.len() {
            continue;
        }
        let Some(metric) = hpa.steep().next() else {
            continue;
        };
        let max = hpa.max().unwrap_or(10);
        let mut way = vec![max];
        let mut pods = max;
        while hpa.min().max(1) < pods && way.len() < 8 {
            pods = ((pods as f64 * IDLE_SHARE).ceil() as i64)
                .max(hpa.min())
                .min(pods - 1);
            way.push(pods);
        }
        let way: Vec<String> = way.iter().map(ToString::to_string).collect();
        out.at(
            &hpa.known,
            metric.node,
            format!("{} is the HPA's only signal", metric.name),
            format!(
                "while users do not wait it is some {} % of its target, whatever pods are needed, and the HPA goes {} \
                 until they do",
                num(IDLE_SHARE * 100.0),
                way.join(" -> ")
            ),
            "- {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}",
        );
    }
}

/// The relative standard deviation of a quantile of one request, to be divided by the root of their number: that of a
/// log-normal distribution, from the density at the quantile.
fn scatter(quantile: f64) -> f64 {
    let z = normal_quantile(quantile);
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    LOG_SCATTER * (quantile * (1.0 - quantile)).sqrt() / density
}

/// The z of a probability, by the rational approximation 26.2.23 of Abramowitz and Stegun: off by 4.5e-4 at most.
fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p).max(1e-9);
    let t = (-2.0 * tail.ln()).sqrt();
    let over = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let z = t - over / under;
    if p < 0.5 { -z } else { z }
}

fn quantile_noisy(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        if metric.served() != Some(Served::RequestLatencyMs) || metric.value.is_none() {
            continue;
        }
        let name = metric.selected("service").unwrap_or_default();
        let service = world.service(hpa.known.object, name);
        let objective = service.and_then(Service::objective);
        let quantile = metric
            .quantile()
            .or(objective.map(|objective| objective.quantile));
        let Some(quantile) = quantile.filter(|q| 0.5 <= *q && *q < 1.0) else {
            continue;
        };
        let window = service.and_then(Service::window).unwrap_or(DEFAULT_WINDOW);
        let tolerance = hpa.tolerance_up();
        if tolerance < TOLERANCE_MIN {
            continue;
        }
        let requests = (scatter(quantile) / tolerance).powi(2);
        let wanted = requests / window.as_secs_f64();
        let (rate, from) = match known_rate(world, hpa, name) {
            Some(known) => known,
            None if ASKED_RATE_MAX < wanted => {
                (ASKED_RATE_MAX, "even that takes 100 requests a second")
            }
            None => continue,
        };
        if wanted <= rate {
            continue;
        }
        let noise = scatter(quantile) / (rate * window.as_secs_f64()).sqrt();
        out.at(
            &hpa.known,
            metric.label_node("quantile"),
            format!(
                "a window of {} holds {} requests at {} a second ({from}), of which {} are beyond the quantile \
                 {quantile}",
                secs(window),
                num((rate * window.as_secs_f64()).round()),
                num(rate),
                num((rate * window.as_secs_f64() * (1.0 - quantile) * 10.0).round() / 10.0),
            ),
            format!(
                "the value scatters by {} % of itself, and the HPA answers from {} % on: it takes {} requests a \
                 second to be sure",
                num((noise * 100.0).round()),
                num(tolerance * 100.0),
                num(wanted.ceil()),
            ),
            calmer(quantile, num((requests / rate).ceil()).as_str()),
        );
    });
}

/// A quantile of less noise, where a lower one has less by enough, or a window of so many seconds.
fn calmer(quantile: f64, window_s: &str) -> String {
    match [0.95, 0.9].into_iter().find(|lower| *lower < quantile) {
        Some(lower) => format!("quantile: \"{lower}\"   # or a window of {window_s} s"),
        None => format!("window: {window_s}s   # in the RequestMetrics"),
    }
}

/// The rate of the service's requests that an HPA sees, as far as anybody tells: the adapter, or what the HPA takes one
/// pod to answer, with as few pods as it may have.
fn known_rate(world: &World<'_>, hpa: &Hpa<'_>, service: &str) -> Option<(f64, &'static str)> {
    let rate = |metric: &&Metric<'_>| {
        metric.served() == Some(Served::RequestRate) && metric.selected("service") == Some(service)
    };
    let selector = format!("service={service}");
    if let Some(answer) = world.answer(hpa.known.object, Served::RequestRate.name(), &selector) {
        let now: f64 = answer.outcome.as_ref().ok()?.iter().sum();
        return (0.0 < now).then_some((now, "as now"));
    }
    let of_pod = hpa.metrics.iter().find(rate)?.average?.1;
    Some((
        of_pod * hpa.min().max(1) as f64,
        "the rate target times minReplicas",
    ))
}

fn target_beyond_objective(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let Some((node, target)) = metric.value else {
            continue;
        };
        let name = metric.selected("service").unwrap_or_default();
        let objective = world
            .service(hpa.known.object, name)
            .and_then(Service::objective);
        let Some(objective) =
            objective.filter(|_| metric.served() == Some(Served::RequestLatencyMs))
        else {
            continue;
        };
        let promised = objective.latency.as_secs_f64() * 1000.0;
        let acts_at = target * (1.0 + hpa.tolerance_up());
        // In the wrong unit it is another finding.
        let is_lax = promised * (1.0 + TOLERANCE) + 1e-6 < acts_at && target < promised * 100.0;
        if !is_lax || metric.quantile().is_some_and(|q| q < objective.quantile) {
            continue;
        }
        // Where the target is as it should be, it is the tolerance alone.
        let is_tolerance = target <= promised + 1e-6;
        let tolerance = hpa.behavior("scaleUp", "tolerance");
        let default = format!("scaleUp: {{tolerance: \"{TOLERANCE}\"}}");
        let fix = match (is_tolerance, TOLERANCE < hpa.tolerance_up()) {
            (true, _) => default,
            (false, true) => format!("value: \"{}\"   # and {default}", num(promised)),
            (false, false) => format!("value: \"{}\"", num(promised)),
        };
        out.at(
            &hpa.known,
            tolerance.filter(|_| is_tolerance).unwrap_or(node),
            format!(
                "the target is {} ms with a tolerance of {} %, and {} ms were promised",
                num(target),
                num(hpa.tolerance_up() * 100.0),
                num(promised)
            ),
            format!(
                "no pod is added below {} ms: a latency of {} % over the objective can stay for ever",
                num(acts_at),
                num(((acts_at / promised - 1.0) * 100.0).round())
            ),
            fix,
        );
    });
}

fn quantile_differs(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let (Some((_, target)), Some(quantile)) = (metric.value, metric.quantile()) else {
            continue;
        };
        let name = metric.selected("service").unwrap_or_default();
        let objective = world
            .service(hpa.known.object, name)
            .and_then(Service::objective);
        let Some(objective) =
            objective.filter(|_| metric.served() == Some(Served::RequestLatencyMs))
        else {
            continue;
        };
        let promised = objective.latency.as_secs_f64() * 1000.0;
        let is_same_latency = (target - promised).abs() <= 0.1 * promised;
        if !is_same_latency || (quantile - objective.quantile).abs() < 1e-9 {
            continue;
        }
        let slow = |q: f64| num((1.0 - q) * 1000.0);
        let why = format!(
            "at the target {} of 1000 requests are slower than {} ms; the objective allows {}",
            slow(quantile),
            num(target),
            slow(objective.quantile)
        );
        out.at(
            &hpa.known,
            metric.label_node("quantile"),
            format!(
                "the HPA looks at the quantile {quantile}, and the objective is for {}",
                objective.quantile
            ),
            why,
            format!("quantile: \"{}\"", objective.quantile),
        );
    });
}

fn tolerance_zero(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Ok(spec) = &hpa.resolved else { continue };
        let Some(behavior) = &spec.behavior else {
            continue;
        };
        for (direction, rules) in [
            ("scaleUp", &behavior.scale_up),
            ("scaleDown", &behavior.scale_down),
        ] {
            let Some(node) = hpa.behavior(direction, "tolerance") else {
                continue;
            };
            if TOLERANCE_MIN <= rules.tolerance {
                continue;
            }
            let pods = hpa.max().unwrap_or(10).max(1);
            // The HPA rounds up, so one of n pods goes only from 1/n below the target on, whatever the tolerance.
            let one_pod = 1.0 / pods as f64;
            if direction == "scaleDown" && TOLERANCE <= one_pod {
                continue;
            }
            let why = if direction == "scaleUp" {
                format!(
                    "the HPA rounds up: a metric {} % above its target adds a pod to however many there are",
                    num(rules.tolerance * 100.0 + 0.1)
                )
            } else {
                format!(
                    "with {pods} replicas a metric {} % below its target takes one away, and the next jump brings it \
                     back",
                    num(rules.tolerance.max(one_pod) * 100.0)
                )
            };
            out.at(
                &hpa.known,
                node,
                format!("{direction}.tolerance is {}", num(rules.tolerance)),
                why,
                "tolerance: \"0.05\"",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scatter_is_that_of_the_tables() {
        for (quantile, percent) in [(0.5, 104.0), (0.95, 176.0), (0.99, 311.0)] {
            let found = scatter(quantile) * 100.0;
            assert!((found - percent).abs() < 2.0, "{quantile}: {found}");
        }
    }
}
