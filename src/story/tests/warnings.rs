//! When it is warned, and when not.

use super::super::warnings::WarningId;
use super::*;

fn ids(facts: &Facts) -> Vec<WarningId> {
    let warnings = Explanation::new(facts).warnings;
    warnings.into_iter().map(|warning| warning.id).collect()
}

#[test]
fn a_maximum_that_holds_back_is_warned_of_and_one_that_does_not_is_not() {
    let over = Watched::new(spec(&[latency()]), 12).sync(&[ms(500)]);
    assert_eq!(ids(&over), [WarningId::AtMax]);
    let on_target = Watched::new(spec(&[latency()]), 12).sync(&[ms(250)]);
    assert_eq!(ids(&on_target), []);
}

#[test]
fn a_latency_over_target_with_idle_cpu_points_behind_the_pods() {
    let waiting = Watched::new(spec(&[latency(), cpu()]), 4).sync(&[ms(400), Read::Percent(12)]);
    assert_eq!(ids(&waiting), [WarningId::Downstream]);
    let busy = Watched::new(spec(&[latency(), cpu()]), 4).sync(&[ms(400), Read::Percent(60)]);
    assert_eq!(ids(&busy), []);
}

/// Syncs at 400 ms while 2 pods become 6, and then for so many syncs more at `then`; the last one's facts.
fn grown(syncs: usize, then: Read, rates: [i64; 2]) -> Facts {
    let mut users = Watched::new(spec(&[latency(), rate()]), 2);
    let mut history = vec![users.sync(&[ms(400), Read::Total(rates[0])]).in_short()];
    users.replicas = 6;
    for _ in 0..syncs {
        let facts = users.sync(&[then, Read::Total(rates[1])]);
        users.replicas = 6;
        // The replicas are set by hand, which is not what the HPA decided.
        users.seen.clear();
        history.push(facts.in_short());
    }
    let mut facts = users.sync(&[then, Read::Total(rates[1])]);
    facts.history = history;
    facts
}

#[test]
fn a_latency_that_more_pods_have_not_lowered_is_warned_of() {
    let warned = |facts: &Facts| ids(facts).contains(&WarningId::PodsDoNotHelp);
    assert!(warned(&grown(8, ms(395), [100_000, 100_000])));
    assert!(
        !warned(&grown(2, ms(395), [100_000, 100_000])),
        "too early to tell"
    );
    assert!(!warned(&grown(8, ms(300), [100_000, 100_000])), "it fell");
    assert!(
        !warned(&grown(8, ms(395), [100_000, 300_000])),
        "the load rose as well"
    );
    assert!(
        !warned(&grown(8, ms(240), [100_000, 100_000])),
        "it is on target"
    );
}

#[test]
fn a_ratio_of_few_ready_pods_is_explained() {
    let mut users = Watched::new(spec(&[latency()]), 10);
    users.unready = 5;
    assert_eq!(ids(&users.sync(&[ms(375)])), [WarningId::FewReady]);
}

#[test]
fn an_absent_metric_beside_one_that_asks_for_more_is_warned_of() {
    let facts =
        Watched::new(spec(&[latency(), cpu()]), 4).sync(&[Read::Absent, Read::Percent(140)]);
    assert_eq!(ids(&facts), [WarningId::NoValue]);
}

#[test]
fn old_values_and_summed_latencies_are_warned_of() {
    let mut facts = Watched::new(spec(&[latency()]), 4).sync(&[ms(250)]);
    facts.metrics[0].age = Some(Duration::from_secs(90));
    assert_eq!(ids(&facts), [WarningId::OldValue]);
    facts.metrics[0].age = None;
    facts.metrics[0].answer = Some(Answer::Values(vec![125_000, 125_000]));
    assert_eq!(ids(&facts), [WarningId::SummedLatency]);
}
