//! Changes with a known answer.

use super::*;

#[test]
fn thresholds_at_rest_are_where_the_proposal_moves() {
    // With 4 ready pods the tolerance is what counts above, and a whole pod less below.
    let mut users = Watched::new(spec(&[latency()]), 4);
    let facts = users.sync(&[ms(250)]);
    assert_eq!(
        prospects(&facts),
        [
            "one more pod (5) at p95 > 275 ms",
            "one fewer pod (3) when p95 <= 187.5 ms, once that has lasted 300 s",
        ]
    );
}

#[test]
fn what_only_waits_says_until_when() {
    let mut users = Watched::new(spec(&[latency()]), 6);
    users.sync(&[ms(250)]);
    let facts = users.sync(&[ms(100)]);
    // 6 was asked for 15 s before.
    assert_eq!(
        prospects(&facts),
        [
            "scale-in to 3 in 285 s if nothing changes",
            "one more pod (7) at p95 > 275 ms"
        ]
    );
}

#[test]
fn at_the_bounds_nothing_adds_or_removes() {
    let at_max = Watched::new(spec(&[latency()]), 12).sync(&[ms(500)]);
    assert_eq!(
        prospects(&at_max)[0],
        "nothing adds a pod: maxReplicas is 12"
    );
    let at_min = Watched::new(spec(&[latency()]), 2).sync(&[ms(10)]);
    assert_eq!(
        prospects(&at_min)[1],
        "nothing removes a pod: minReplicas is 2"
    );
}

#[test]
fn an_average_has_its_threshold_in_total() {
    let facts = Watched::new(spec(&[rate()]), 4).sync(&[Read::Total(320_000)]);
    assert_eq!(
        prospects(&facts),
        [
            "one more pod (5) at request_rate > 352/s in total",
            "one fewer pod (3) when request_rate <= 240/s in total, once that has lasted 300 s",
        ]
    );
}

#[test]
fn a_metric_without_a_value_must_come_back_before_pods_go() {
    let facts = Watched::new(spec(&[latency(), cpu()]), 5).sync(&[Read::Absent, Read::Percent(20)]);
    assert_eq!(
        prospects(&facts),
        [
            "one more pod (6) at CPU >= 78 %",
            "3 fewer pods (2) when CPU <= 56 % (it reads 20 %) and p95 has a value again and asks for no more",
        ]
    );
}

#[test]
fn a_used_up_policy_says_when_it_lets_more_through() {
    let mut rules = spec(&[latency()]);
    rules.behavior = Some(Behavior {
        scale_up: Rules {
            policies: vec![crate::hpa::Policy {
                unit: crate::hpa::PolicyUnit::Pods,
                value: 2,
                period: Duration::from_secs(60),
            }],
            ..Rules::scale_up()
        },
        ..Behavior::default()
    });
    let mut users = Watched::new(rules, 4);
    users.sync(&[ms(600)]);
    let facts = users.sync(&[ms(600)]);
    assert_eq!(
        prospects(&facts)[0],
        "scale-out to 8 in 45 s if nothing changes"
    );
}

#[test]
fn without_the_hpas_memory_times_are_not_made_up() {
    let known = Watched::new(spec(&[latency()]), 4).sync(&[ms(250)]);
    let whose = ("shop", "users", known.target.clone());
    let mut facts = Facts::new(
        whose,
        &known.spec,
        &known.observation(),
        None,
        &known.again(),
    );
    facts.metrics[0]
        .selector
        .clone_from(&known.metrics[0].selector);
    assert_eq!(
        (facts.outcome.stabilized, facts.outcome.limited),
        (None, None)
    );
    assert_eq!(
        prospects(&facts),
        [
            "one more pod (5) at p95 > 275 ms, once policies let it",
            "one fewer pod (3) when p95 <= 187.5 ms, once stabilization lets it",
        ]
    );
}

#[test]
fn a_switched_off_hpa_has_no_prospects() {
    let facts = Watched::new(spec(&[latency()]), 0).sync(&[ms(250)]);
    assert_eq!(
        prospects(&facts),
        [
            "nothing adds a pod: there are no replicas, so autoscaling is off",
            "nothing removes a pod: there are no replicas, so autoscaling is off",
        ]
    );
}
