//! The headline of each way to a number of replicas.

use super::*;

#[test]
fn a_latency_over_its_target_is_why_there_are_more() {
    let mut users = Watched::new(spec(&[latency(), cpu()]), 4);
    let facts = users.sync(&[ms(347), Read::Percent(50)]);
    assert_eq!(
        headline(&facts),
        "users has 6 replicas because p95 347 ms over target 250 ms asked for 6 (ratio 1.39, 4 ready pods); CPU asked \
         for 3"
    );
}

#[test]
fn at_rest_the_minimum_is_named() {
    let mut users = Watched::new(spec(&[latency()]), 2);
    let facts = users.sync(&[ms(40)]);
    assert_eq!(
        headline(&facts),
        "users has 2 replicas, its minReplicas: p95 40 ms under target 250 ms asked for 1 (ratio 0.16, 2 ready pods)"
    );
}

#[test]
fn within_tolerance_nothing_is_asked_for() {
    let mut users = Watched::new(spec(&[latency()]), 4);
    let facts = users.sync(&[ms(260)]);
    assert_eq!(
        headline(&facts),
        "users has 4 replicas because p95 260 ms within tolerance of target 250 ms asked for no change (ratio 1.04, 4 \
         ready pods)"
    );
}

#[test]
fn what_stabilization_holds_says_by_what_and_how_long() {
    let mut users = Watched::new(spec(&[latency()]), 4);
    users.sync(&[ms(347)]);
    for _ in 0..5 {
        users.sync(&[ms(250)]);
    }
    users.now = users.now - Duration::from_secs(2);
    let facts = users.sync(&[ms(100)]);
    // On target is 6 asked for, 13 s before; the window of 300 s lets go of that in 287 s.
    assert_eq!(
        headline(&facts),
        "users has 6 replicas because 6 was asked for 13 s before, and scaling down follows the highest of 300 s: 287 s to \
         go; now p95 100 ms under target 250 ms asked for 3 (ratio 0.40, 6 ready pods)"
    );
}

#[test]
fn at_the_maximum_it_says_so() {
    let mut users = Watched::new(spec(&[latency()]), 10);
    let facts = users.sync(&[ms(500)]);
    assert_eq!(
        headline(&facts),
        "users has 12 replicas, its maxReplicas: p95 500 ms over target 250 ms asked for 20 (ratio 2.00, 10 ready pods)"
    );
}

#[test]
fn a_policy_that_cuts_is_named_with_what_is_left_of_its_period() {
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
    let first = users.sync(&[ms(600)]);
    assert_eq!(
        headline(&first),
        "users has 6 replicas, as far as the policy 2 pods in 60 s lets it go at once: p95 600 ms over target 250 ms asked \
         for 10 (ratio 2.40, 4 ready pods)"
    );
    let second = users.sync(&[ms(600)]);
    assert_eq!(
        headline(&second),
        "users has 6 replicas, as far as the policy 2 pods in 60 s lets it go for 45 s more: p95 600 ms over target 250 ms \
         asked for 15 (ratio 2.40, 6 ready pods)"
    );
}

#[test]
fn an_absent_metric_holds_what_others_would_remove() {
    let mut users = Watched::new(spec(&[latency(), cpu()]), 5);
    let facts = users.sync(&[Read::Absent, Read::Percent(20)]);
    assert_eq!(facts.outcome.way, Way::Failed);
    assert_eq!(
        headline(&facts),
        "users has 5 replicas and keeps them: what can be read asks for 2, but nothing is removed while \
         request_latency_ms has no value (request_latency_ms: no samples of users)"
            .replace("request_latency_ms", "p95")
    );
    let mut alone = Watched::new(spec(&[latency()]), 5);
    assert_eq!(
        headline(&alone.sync(&[Read::Absent])),
        "users has 5 replicas and keeps them: its only metric has no value (p95: no samples of users)"
    );
}

#[test]
fn outside_its_bounds_an_hpa_reads_no_metric() {
    for (replicas, expected) in [
        (
            20,
            "users has 12 replicas, its maxReplicas, because it had 20: no metric is read for that",
        ),
        (
            1,
            "users has 2 replicas, its minReplicas, because it had 1: no metric is read for that",
        ),
        (
            0,
            "users has 0 replicas, which switches autoscaling off until somebody scales it to 1 or more",
        ),
    ] {
        let facts = Watched::new(spec(&[latency()]), replicas).sync(&[ms(250)]);
        assert_eq!(headline(&facts), expected);
    }
}

#[test]
fn where_the_hpa_decided_otherwise_both_numbers_are_said() {
    let mut facts = Watched::new(spec(&[latency()]), 4).sync(&[ms(347)]);
    facts.real = Some(super::super::facts::Real {
        current_replicas: 4,
        desired_replicas: 5,
        parted: Some(
            "the HPA decided 5, where this arithmetic gives 6: it read p95 before it rose"
                .to_owned(),
        ),
        ..Default::default()
    });
    assert_eq!(
        headline(&facts),
        "users has 5 replicas: the HPA decided 5, where this arithmetic gives 6: it read p95 before it rose"
    );
}

#[test]
fn a_scale_that_cannot_be_read_or_written_goes_before_everything_else() {
    let failing = |reason: &str, wanted: i32| {
        let mut facts = Watched::new(spec(&[latency()]), 4).sync(&[ms(347)]);
        facts.outcome.desired_replicas = wanted;
        facts.real = Some(super::super::facts::Real {
            current_replicas: 4,
            desired_replicas: 4,
            conditions: vec![super::super::facts::ConditionFacts {
                kind: "AbleToScale".to_owned(),
                status: "False".to_owned(),
                reason: reason.to_owned(),
                message: "no".to_owned(),
            }],
            parted: Some("the HPA decided nothing".to_owned()),
            ..Default::default()
        });
        headline(&facts)
    };
    assert_eq!(
        failing("FailedGetScale", 6),
        "nothing scales Deployment users: the HPA cannot read its scale (no); it had 4 replicas when the HPA last could"
    );
    assert_eq!(
        failing("FailedUpdateScale", 6),
        "users has 4 replicas and keeps them, where this arithmetic gives 6: the HPA could not write the scale of \
         Deployment users (no)"
    );
    // Whoever asks without the adapter knows nothing of what the HPA wanted.
    assert_eq!(
        failing("FailedUpdateScale", 4),
        "users has 4 replicas and keeps them: the HPA could not write the scale of Deployment users (no)"
    );
}

#[test]
fn cpu_over_its_target_is_why_there_are_more() {
    let mut users = Watched::new(spec(&[latency(), cpu()]), 4);
    let facts = users.sync(&[ms(200), Read::Percent(140)]);
    assert_eq!(
        headline(&facts),
        "users has 8 replicas because CPU 140 % over target 70 % asked for 8 (ratio 2.00); p95 asked for 4"
    );
}

#[test]
fn the_last_change_is_remembered_with_its_reading() {
    let mut users = Watched::new(spec(&[latency()]), 4);
    let change = users.sync(&[ms(347)]).in_short();
    let first = Watched::new(spec(&[latency()]), 4).sync(&[ms(347)]);
    assert_eq!(
        Explanation::new(&first).since.unwrap(),
        "this sync changed them from 4 to 6"
    );
    let mut facts = users.sync(&[ms(250)]);
    facts.last_change = Some(change);
    assert_eq!(
        Explanation::new(&facts).since.unwrap(),
        "the last change was from 4 to 6, 15 s before, when p95 read 347 ms"
    );
}

#[test]
fn pods_that_do_not_count_are_named() {
    let mut users = Watched::new(spec(&[latency()]), 4);
    users.unready = 2;
    let pods = Explanation::new(&users.sync(&[ms(347)])).pods;
    assert_eq!(
        pods,
        [
            "4 pods, 2 ready",
            "p95 multiplies ready pods only; these are not ready: users-002, users-003"
        ]
    );
}

#[test]
fn the_whole_text_reads_from_the_answer_to_what_would_change_it() {
    let mut users = Watched::new(spec(&[latency(), cpu()]), 4);
    let mut facts = users.sync(&[ms(347), Read::Percent(50)]);
    facts.metrics[0].state = Some("ok".to_owned());
    facts.metrics[0].age = Some(Duration::from_millis(2_100));
    let explanation = Explanation::new(&facts);
    let text = Text {
        facts: &facts,
        explanation: &explanation,
        now: facts.at + Duration::from_secs(4),
    };
    let expected = "\
hpa/users in shop, of Deployment users: its sync at 2027-01-15T08:00:00Z, 4 s ago

users has 6 replicas because p95 347 ms over target 250 ms asked for 6 (ratio 1.39, 4 ready pods); CPU asked for 3
this sync changed them from 4 to 6

Metrics
         value   target  ratio  asks for
  * p95  347 ms  250 ms  1.39   6         ok, 2 s old
    CPU  50 %    70 %    0.71   3
    p95: external metric request_latency_ms{quantile=0.95,service=users}
    CPU: resource cpu
    a ratio from 0.90 to 1.10 asks for no change

From proposals to replicas
  proposals      the highest proposal wins: 6 by p95
  stabilization  6: no earlier recommendation holds that back
  limits         6 is within bounds and rates

Pods
  4 pods, 4 ready

What would change it
  scale-out to 9 if p95 still reads 347 ms when all 6 pods are ready
  one more pod (7) at p95 > 375 ms with 4 ready pods
  one more pod (7) at CPU >= 106 %
  2 fewer pods (4) when p95 < 225 ms and CPU <= 62 % (it reads 50 %), once that has lasted 300 s
";
    assert_eq!(text.to_string(), expected);
}
