//! What a metric is compared with: the kind of target that fits a signal, and its unit.

use crate::engine::snapshot::Metric as Served;
use crate::hpa::spec::TOLERANCE;

use super::num;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Metric, Service};
use crate::lint::world::World;

/// What a target's type may be.
pub(super) const TARGET_TYPES: [&str; 3] = ["Utilization", "Value", "AverageValue"];

/// A target in milliseconds below this is one in seconds: no service promises a tenth of a millisecond over HTTP.
const LATENCY_MS_MIN: f64 = 1.0;

/// And one above this, 100 s, is one in microseconds.
const LATENCY_MS_MAX: f64 = 100_000.0;

/// How far apart target and objective are when one of them is in another unit.
const UNIT_FACTOR: f64 = 100.0;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "quantile-averaged",
        severity: Severity::Error,
        title: "A quantile or a share with averageValue is divided by the number of pods",
        why: "averageValue means that the metric is a total of which each pod has its part: the HPA divides by the \
              replicas before it compares. The latency of ten pods is no tenth of anything. The more pods there are, \
              the slower they may be, so the HPA stops adding pods just when it matters.",
        fix: "use type: Value with value, which compares the quantile itself",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            p95!("type: AverageValue, averageValue: \"250\""),
        ),
        right: right_hpa!(),
        page: None,
        check: quantile_averaged,
    },
    Rule {
        id: "total-as-value",
        severity: Severity::Error,
        title: "A rate or a number in flight with value has no fixed point",
        why: "With value the HPA multiplies its pods by value/target. Adding pods does not lower the requests that \
              come in, so the ratio stays what it is, and the HPA multiplies again at every sync until maxReplicas.",
        fix: "use type: AverageValue: what one pod handles",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            rate!("type: Value, value: \"50\""),
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            rate!("type: AverageValue, averageValue: \"50\""),
        ),
        page: None,
        check: total_as_value,
    },
    Rule {
        id: "latency-unit",
        severity: Severity::Error,
        title: "The target of a latency is in another unit",
        why: "request_latency_ms is in milliseconds. A target of 0.25, or of 250m, which is the same, is a quarter of \
              a millisecond: every request is above it, and the service sits at maxReplicas for ever. One of 250000 \
              is never reached.",
        fix: "write the target in milliseconds: \"250\"",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            p95!("type: Value, value: 250m"),
        ),
        right: right_hpa!(),
        page: None,
        check: latency_unit,
    },
    Rule {
        id: "ratio-above-one",
        severity: Severity::Error,
        title: "A share of requests is compared with all of them or more",
        why: "slow_request_ratio goes from 0 to 1. A target of 5 for 5 % can never be reached, and the HPA sees a \
              ratio near 0, which is a reason to remove pods.",
        fix: "write a share: 5 % is 50m",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            external!(
                "name: slow_request_ratio, selector: {matchLabels: {service: users}}",
                "type: Value, value: \"5\""
            ),
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            external!(
                "name: slow_request_ratio, selector: {matchLabels: {service: users}}",
                "type: Value, value: 50m"
            ),
        ),
        page: None,
        check: ratio_above_one,
    },
    Rule {
        id: "target-type-ignored",
        severity: Severity::Error,
        title: "target.type says another thing than the target's field",
        why: "For an external metric and for CPU the HPA never looks at target.type: averageValue is an amount for each \
              pod, value is compared as it is, and averageUtilization is a share of the request, whatever the type says. \
              Whoever reads the type is misled.",
        fix: "let the type say what the field is: Value with value, AverageValue with averageValue, Utilization with \
              averageUtilization",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            rate!("type: Value, averageValue: \"50\""),
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            rate!("type: AverageValue, averageValue: \"50\""),
        ),
        page: None,
        check: target_type_ignored,
    },
    Rule {
        id: "memory-metric",
        severity: Severity::Warning,
        title: "Memory rarely falls when pods are added",
        why: "The HPA expects that the metric falls in proportion as pods come. Heaps and caches keep what they have, \
              so each new pod fills up as well, and what was added never goes.",
        fix: "scale on CPU, rate or latency, and give a pod the memory that it needs by requests and limits",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            "- {type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}",
        ),
        right: hpa!("minReplicas: 2", "maxReplicas: 10", "metrics:", cpu!()),
        page: None,
        check: memory_metric,
    },
];

/// The metrics of all HPAs, each with its HPA's object.
macro_rules! each_metric {
    ($world:expr, |$hpa:ident, $metric:ident| $body:expr) => {
        for $hpa in &$world.hpas {
            for $metric in &$hpa.metrics {
                $body
            }
        }
    };
}
pub(super) use each_metric;

fn quantile_averaged(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let is_pods = metric.kind == "Pods";
        let Some((node, target)) = metric.average.filter(|_| metric.is_steep() && !is_pods) else {
            continue;
        };
        let pods = hpa.typical();
        let what = format!(
            "averageValue divides {} by the number of pods",
            named(metric)
        );
        let why = format!(
            "with {pods} replicas the HPA takes {0} for {1}, and adds a pod only above {2}",
            measure(metric, target),
            measure(metric, target / pods as f64),
            measure(metric, target * pods as f64),
        );
        let fix = format!("target: {{type: Value, value: \"{}\"}}", num(target));
        out.at(&hpa.known, node, what, why, fix);
    });
}

/// The metric and what it is.
fn named(metric: &Metric<'_>) -> String {
    match metric.served() {
        Some(Served::SlowRequestRatio) => format!("{}, a share,", metric.name),
        _ => format!("{}, a latency,", metric.name),
    }
}

/// A number of the metric, with its unit where that is known.
fn measure(metric: &Metric<'_>, number: f64) -> String {
    match metric.served() {
        Some(Served::RequestLatencyMs) => format!("{} ms", num(number)),
        _ => num(number),
    }
}

fn total_as_value(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let is_total = matches!(
            metric.served(),
            Some(Served::RequestRate | Served::RequestConcurrency)
        );
        let Some((node, target)) = metric.value.filter(|_| is_total) else {
            continue;
        };
        let max = hpa.max().unwrap_or(10);
        let mut pods = hpa.min().clamp(1, max.max(1));
        let mut syncs = 0;
        while pods < max && syncs < 64 {
            pods = pods.saturating_mul(2);
            syncs += 1;
        }
        let what = format!(
            "{} does not fall when pods are added, and value multiplies them",
            metric.name
        );
        let ratio = format!("at {} against {}", num(target * 2.0), num(target));
        let why = if syncs == 0 {
            format!(
                "{ratio} the HPA asks for twice its pods at each sync; only maxReplicas holds it at {max}"
            )
        } else {
            format!(
                "{ratio} the HPA doubles at each sync, from {} to {max} replicas within {} s, and stays there",
                hpa.min(),
                syncs * 15,
            )
        };
        let each = target / hpa.min().max(1) as f64;
        let fix = format!(
            "target: {{type: AverageValue, averageValue: \"{}\"}}   # what one pod handles; {} if {} was for \
             minReplicas",
            num(each),
            num(each),
            num(target)
        );
        out.at(&hpa.known, node, what, why, fix);
    });
}

fn latency_unit(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let target = metric.value.or(metric.average);
        let is_ours = metric.served() == Some(Served::RequestLatencyMs);
        let Some((node, target)) = target.filter(|_| is_ours) else {
            continue;
        };
        let service = metric
            .selected("service")
            .and_then(|name| world.service(hpa.known.object, name));
        let objective_ms = service
            .and_then(Service::objective)
            .map(|objective| objective.latency.as_secs_f64() * 1000.0);
        let (is_small, is_large) = match objective_ms {
            Some(ms) => (target * UNIT_FACTOR <= ms, ms * UNIT_FACTOR <= target),
            None => (target < LATENCY_MS_MIN, LATENCY_MS_MAX <= target),
        };
        let (meant, hurts) = match (is_small, is_large) {
            (true, _) => (
                target * 1000.0,
                "every request is slower, so the HPA stays at maxReplicas",
            ),
            (_, true) => (
                target / 1000.0,
                "no request is slower, so the HPA never adds a pod",
            ),
            _ => continue,
        };
        let promised = objective_ms.map_or(String::new(), |ms| {
            format!(
                "; RequestMetrics {} promises {} ms",
                service.map_or("", |s| s.known.object.name.as_str()),
                num(ms)
            )
        });
        out.at(
            &hpa.known,
            node,
            format!(
                "the target of request_latency_ms is {} ms{promised}",
                num(target)
            ),
            hurts,
            format!("value: \"{}\"", num(objective_ms.unwrap_or(meant))),
        );
    });
}

fn ratio_above_one(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let target = metric.value.or(metric.average);
        let is_ratio = metric.served() == Some(Served::SlowRequestRatio);
        let Some((node, target)) = target.filter(|(_, target)| is_ratio && 1.0 <= *target) else {
            continue;
        };
        out.at(
            &hpa.known,
            node,
            format!("slow_request_ratio is at most 1 and is compared with {}", num(target)),
            if 1.0 - TOLERANCE <= 1.0 / target {
                "even with every request slow it is not exceeded, so the HPA never adds a pod".to_owned()
            } else {
                format!(
                    "with every request slow the ratio is 1/{0}, so the HPA removes pods in the middle of an outage",
                    num(target)
                )
            },
            if target < 100.0 {
                format!("value: {}m   # {} %", num(target * 10.0), num(target))
            } else {
                "value: 50m   # 5 %; a share below 1".to_owned()
            },
        );
    });
}

fn target_type_ignored(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let Some(kind) = metric.target.and_then(|target| target.get("type")) else {
            continue;
        };
        let (field, meant) = match (&metric.value, &metric.average, &metric.utilization) {
            (Some(_), None, None) => ("value", "Value"),
            (None, Some(_), None) => ("averageValue", "AverageValue"),
            (None, None, Some(_)) => ("averageUtilization", "Utilization"),
            _ => continue,
        };
        let says = kind.text().unwrap_or_default();
        // A field that such a metric cannot have is refused, which is a finding of its own.
        let is_ignored = match metric.kind {
            "External" => meant != "Utilization",
            "Resource" | "ContainerResource" => meant != "Value",
            _ => false,
        };
        // What is no type at all is refused, which is a finding of its own.
        if !is_ignored || says == meant || !TARGET_TYPES.contains(&says) {
            continue;
        }
        // The type may be what was meant, and the field the slip.
        let fix = match metric.average {
            Some((_, target)) if metric.is_steep() => {
                format!("target: {{type: Value, value: \"{}\"}}", num(target))
            }
            _ => format!("type: {meant}"),
        };
        let does = match meant {
            "Value" => "compares it as it is",
            "AverageValue" => "compares what of it there is for each pod",
            _ => "compares its share of what pods request",
        };
        out.at(
            &hpa.known,
            kind,
            format!("the type says {says:?}, and the field is {field}"),
            format!(
                "the HPA goes by the field: it reads {} and {does}",
                metric.name
            ),
            fix,
        );
    });
}

fn memory_metric(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        if metric.signal != crate::lint::view::Signal::Memory {
            continue;
        }
        out.at(
            &hpa.known,
            metric.target_node(),
            "scales on memory",
            format!(
                "what processes have allocated stays allocated when load goes, so the {} replicas of one peak remain",
                hpa.max().unwrap_or(1)
            ),
            "name: cpu",
        );
    });
}
