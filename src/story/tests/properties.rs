//! For HPAs drawn by chance: every threshold is where the replicas change, every time is when they do, and facts survive
//! being written and read. What is told is tried on an HPA that is made anew from everything it saw.

use proptest::prelude::*;

use super::*;
use crate::hpa::{Decision, Policy, PolicyUnit, Select};

const MS: Duration = Duration::from_millis(1);

fn rules(up: bool) -> impl Strategy<Value = Rules> {
    let policy = (
        any::<bool>(),
        1..120_i32,
        prop::sample::select(vec![15_u64, 60, 100]),
    );
    let policy = policy.prop_map(|(pods, value, period)| Policy {
        unit: if pods {
            PolicyUnit::Pods
        } else {
            PolicyUnit::Percent
        },
        value: if pods { value / 10 + 1 } else { value },
        period: Duration::from_secs(period),
    });
    let select = prop::sample::select(vec![
        Select::Max,
        Select::Max,
        Select::Min,
        Select::Disabled,
    ]);
    let window = prop::sample::select(if up {
        vec![0_u64, 0, 60]
    } else {
        vec![0_u64, 120, 300]
    });
    let tolerance = prop::sample::select(vec![0.0, 0.01, 0.05, 0.1]);
    (
        prop::collection::vec(policy, 1..3),
        select,
        window,
        tolerance,
    )
        .prop_map(|(policies, select, window, tolerance)| Rules {
            stabilization: Duration::from_secs(window),
            select,
            policies,
            tolerance,
        })
}

fn any_spec() -> impl Strategy<Value = Spec> {
    let each = MetricSpec::Pods {
        metric: "depth".to_owned(),
        average_milli: 1500,
    };
    let metric = prop::sample::select(vec![latency(), rate(), cpu(), each]);
    let behavior = (rules(true), rules(false)).prop_map(|(scale_up, scale_down)| Behavior {
        scale_up,
        scale_down,
    });
    (
        1..4_i32,
        0..20_i32,
        prop::collection::vec(metric, 1..4),
        prop::option::of(behavior),
    )
        .prop_map(|(min, more, metrics, behavior)| Spec {
            min_replicas: min,
            max_replicas: min + more,
            metrics,
            behavior,
        })
}

/// What a metric reads, when it is so many times its target; nothing now and then.
fn read(metric: &MetricSpec, ratio: Option<f64>, replicas: i32) -> Read {
    let Some(ratio) = ratio else {
        return Read::Absent;
    };
    let times = |target: i64| (target as f64 * ratio) as i64;
    match metric {
        MetricSpec::External {
            target: Target::Value(target),
            ..
        } => Read::Total(times(*target)),
        MetricSpec::External {
            target: Target::AverageValue(target),
            ..
        } => Read::Total(times(*target * i64::from(replicas))),
        MetricSpec::Pods { average_milli, .. } => Read::Each(times(*average_milli)),
        _ => Read::Percent(times(70)),
    }
}

/// An HPA that has synced some times, and the facts of its last sync.
fn watched() -> impl Strategy<Value = (Watched, Facts)> {
    let ratio = prop::option::weighted(0.95, prop_oneof![0.0..3.0_f64, 0.85..1.15_f64]);
    let sync = (prop::collection::vec(ratio, 3), 0..3_usize);
    (any_spec(), 1..20_i32, prop::collection::vec(sync, 1..30)).prop_map(
        |(spec, replicas, syncs)| {
            let mut watched = Watched::new(spec, replicas);
            let mut facts = None;
            for (ratios, unready) in syncs {
                watched.unready = unready.min(watched.replicas.unsigned_abs() as usize);
                let metrics = watched.spec.metrics.iter().zip(ratios);
                let reads: Vec<Read> = metrics
                    .map(|(metric, ratio)| read(metric, ratio, watched.replicas))
                    .collect();
                facts = Some(watched.sync(&reads));
            }
            (watched, facts.expect("at least one sync"))
        },
    )
}

impl Watched {
    /// The last sync's observation, as the next one is if nothing changes.
    fn unchanged(&self) -> Observation {
        let (_, observed, desired) = self.seen.last().unwrap();
        let mut next = observed.clone();
        let leaving = observed.spec_replicas.saturating_sub(*desired).max(0) as usize;
        let kept = next.pods.len().saturating_sub(leaving);
        // Pods are in the order of their names, those that are not ready last.
        for pod in next.pods.split_off(kept) {
            for answer in next.answers.iter_mut().flatten() {
                if let Answer::PerPod(usage) = answer {
                    usage.remove(&pod.name);
                }
            }
        }
        next.spec_replicas = *desired;
        next.status_replicas = *desired;
        next
    }

    /// `observed` with another value of one metric.
    fn with(&self, mut observed: Observation, metric: usize, milli: i64) -> Observation {
        let utilization = matches!(self.spec.metrics[metric], MetricSpec::Resource { .. });
        match &mut observed.answers[metric] {
            Ok(Answer::Values(items)) => *items = vec![milli],
            Ok(Answer::PerPod(usage)) => {
                let each = if utilization {
                    milli * REQUEST / 100_000
                } else {
                    milli
                };
                usage.values_mut().for_each(|usage| usage.milli = each);
            }
            Err(_) => unreachable!("a metric without a value has no threshold"),
        }
        observed
    }

    /// What is decided `after` the last sync, if every sync from then on sees `observed`.
    fn decide_after(&self, after: Duration, observed: &Observation) -> Decision {
        let mut autoscaler = self.autoscaler();
        let (last, ..) = self.seen.last().unwrap();
        let mut at = SYNC_PERIOD;
        while at < after {
            let decision = autoscaler.decide(*last + at, observed);
            assert_eq!(decision.desired, decision.current, "nothing happens before");
            at += SYNC_PERIOD;
        }
        autoscaler.decide(*last + after, observed)
    }

    /// What is decided if this metric is the only one, and all else has long passed.
    fn alone(&self, metric: usize, observed: &Observation) -> i32 {
        let spec = Spec {
            metrics: vec![self.spec.metrics[metric].clone()],
            ..self.spec.clone()
        };
        let observed = Observation {
            answers: vec![observed.answers[metric].clone()],
            ..observed.clone()
        };
        let mut autoscaler = Autoscaler::new(spec);
        // Without an answer it notes the replicas there are, and nothing else.
        let unread = Observation {
            answers: Vec::new(),
            ..observed.clone()
        };
        let (last, ..) = self.seen.last().unwrap();
        autoscaler.decide(*last - Duration::from_secs(7200), &unread);
        autoscaler.decide(*last, &observed).desired
    }
}

/// The smallest step of a metric's value.
fn step(metric: &MetricSpec) -> i64 {
    if matches!(metric, MetricSpec::Resource { .. }) {
        1000
    } else {
        1
    }
}

fn check(watched: &Watched, facts: &Facts) {
    let desired = facts.replicas();
    let unchanged = watched.unchanged();
    let happens = |after: Duration, observed: &Observation, holds: &dyn Fn(i32) -> bool| {
        let decided = watched.decide_after(after, observed).desired;
        assert!(holds(decided), "{decided} after {after:?} from {desired}");
        if MS <= after {
            let before = watched.decide_after(after - MS, observed).desired;
            assert_eq!(before, desired, "just before {after:?}");
        }
    };
    for change in super::super::whatif::changes(facts) {
        match change {
            Change::Waiting { to, after } => {
                happens(after.unwrap(), &unchanged, &|decided| decided == to);
            }
            Change::More {
                metric,
                at_least_milli,
                to,
                after,
            } => {
                let step = step(&watched.spec.metrics[metric]);
                let at = watched.with(unchanged.clone(), metric, at_least_milli);
                let below = watched.with(unchanged.clone(), metric, at_least_milli - step);
                assert_eq!(watched.alone(metric, &at), to);
                assert!(desired < to);
                assert!(
                    watched.alone(metric, &below) <= desired,
                    "just below it does not"
                );
                if let Some(after) = after {
                    happens(after, &at, &|decided| desired < decided);
                }
            }
            Change::Fewer {
                needs,
                unread,
                to,
                after,
            } => {
                let mut all = unchanged.clone();
                for need in &needs {
                    let (metric, highest) = (need.metric, need.at_most_milli);
                    let step = step(&watched.spec.metrics[metric]);
                    let at = watched.with(unchanged.clone(), metric, highest);
                    let above = watched.with(unchanged.clone(), metric, highest + step);
                    assert!(watched.alone(metric, &at) < desired);
                    assert!(
                        desired <= watched.alone(metric, &above),
                        "just above it does not"
                    );
                    assert_eq!(
                        need.met,
                        facts.metrics[metric].read_milli().unwrap() <= highest
                    );
                    if !need.met {
                        all = watched.with(all, metric, highest);
                    }
                }
                assert!(to < desired);
                if let Some(after) = after {
                    happens(after, &all, &|decided| decided < desired);
                } else {
                    // Time alone brings it, unless something is missing or adds pods before.
                    let adds = watched.alone(needs[0].metric, &all);
                    assert!(!unread.is_empty() || adds < desired);
                }
            }
            Change::WhenReady { metric, to } => {
                let mut ready = unchanged.clone();
                ready.pods = (0..desired as usize)
                    .map(|index| pod(index, true))
                    .collect();
                assert_eq!(watched.alone(metric, &ready), to);
                assert!(desired < to);
            }
            Change::NoMore { why: Stop::Bound } => assert!(facts.spec.max_replicas <= desired),
            Change::NoFewer { why: Stop::Bound } => assert!(desired <= facts.spec.min_replicas),
            Change::NoMore {
                why: Stop::Metric(metric),
            } => {
                for times in [2, 10, 1000] {
                    let high = watched.with(unchanged.clone(), metric, times * 1_000_000);
                    assert!(watched.alone(metric, &high) <= desired);
                }
            }
            Change::NoFewer {
                why: Stop::Metric(metric),
            } => {
                let zero = watched.with(unchanged.clone(), metric, 0);
                assert!(desired <= watched.alone(metric, &zero));
            }
            Change::NoMore { .. } | Change::NoFewer { .. } => {}
        }
    }
}

proptest! {
    // A case decides some hundred times, and most of its cost is there.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_threshold_and_every_time_is_where_the_replicas_change((watched, facts) in watched()) {
        check(&watched, &facts);
    }

    #[test]
    fn facts_decide_the_same_again_after_being_written_and_read((_, facts) in watched()) {
        let text = serde_json::to_string(&facts).unwrap();
        let read: Facts = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&super::super::facts::Outcome::from(&facts.again()).way, &facts.outcome.way);
        prop_assert_eq!(facts.again().desired, facts.outcome.desired_replicas);
        prop_assert_eq!(read.again(), facts.again());
        prop_assert_eq!(Explanation::new(&read), Explanation::new(&facts));
    }

    #[test]
    fn facts_from_anywhere_make_nothing_panic(
        (_, mut facts) in watched(),
        numbers in prop::array::uniform6(prop_oneof![any::<i32>(), -1..3_i32]),
        milli in any::<i64>(),
        seconds in any::<u64>(),
    ) {
        let [spec_replicas, status, min, max, desired, winner] = numbers;
        facts.spec_replicas = spec_replicas;
        facts.status_replicas = status;
        facts.spec.min_replicas = min;
        facts.spec.max_replicas = max;
        facts.outcome.desired_replicas = desired;
        facts.outcome.winner = usize::try_from(winner).ok();
        facts.metrics[0].answer = Some(Answer::Values(vec![milli, milli]));
        facts.metrics[0].age = Some(Duration::from_secs(seconds));
        if let Some(held) = facts.outcome.stabilized.as_mut().and_then(|step| step.held_by.as_mut()) {
            held.left = Duration::new(u64::MAX, 5);
        }
        let told = |facts: &Facts| {
            let explanation = Explanation::new(facts);
            Text { facts, explanation: &explanation, now: Timestamp::from_ms(milli) }.to_string()
        };
        prop_assert!(!told(&facts).is_empty());
        facts.spec.metrics.push(latency());
        facts.metrics.truncate(1);
        facts.memory = None;
        prop_assert!(!told(&facts).is_empty());
    }
}
