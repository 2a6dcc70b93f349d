//! What is told of decisions that real HPAs made: it holds the numbers of the decision, and what it says would change it
//! does, in the replay of the recording.

use std::fs;
use std::path::Path;

use taffrail::hpa::{Answer, Autoscaler, MetricSpec, Observation, SYNC_PERIOD};
use taffrail::replay::recording::Recording;
use taffrail::replay::syncs::{observe, spec_at, syncs};
use taffrail::story::facts::{Outcome, ScaleTarget, Way};
use taffrail::story::whatif::changes;
use taffrail::story::{Change, Explanation, Facts};

/// Every so many decisions one is told that came about as the one before: what would change it takes some hundred decisions
/// more.
const TOLD_EVERY: usize = 20;

/// Explains the decisions of a recording: each that came about otherwise than the one before, and some of the others. How
/// many there were, and how many were told.
fn explain(recording: &Recording) -> (usize, usize) {
    let specs = recording.specs().unwrap();
    let request = recording.cpu_request_milli().unwrap();
    let mut hpa = Autoscaler::new(specs[0].1.clone());
    let syncs = syncs(recording, &specs);
    let (mut told, mut last) = (0, None);
    for (index, sync) in syncs.iter().enumerate() {
        if let Some(spec) = spec_at(&specs, sync.began) {
            hpa.set_spec(spec.clone());
        }
        let observed = observe(recording, request, hpa.spec(), sync);
        let memory = hpa.memory().clone();
        let decision = hpa.decide(sync.at, &observed);
        let target = ScaleTarget {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        };
        let facts = Facts::new(
            ("default", "web", target),
            hpa.spec(),
            &observed,
            Some(memory),
            &decision,
        );
        let scaled_to = sync.decided.replicas().unwrap_or(decision.desired);
        hpa.scaled(sync.at, decision.current, scaled_to);

        assert_eq!(facts.again().desired, decision.desired);
        let kind = Some(kind(&facts));
        let is_another = std::mem::replace(&mut last, kind) != kind;
        if is_another || index % TOLD_EVERY == 0 {
            told += 1;
            tell(&facts);
        }
        if index % TOLD_EVERY == 0 && scaled_to == decision.desired {
            try_changes(&hpa, &facts, &observed);
        }
    }
    (syncs.len(), told)
}

/// What makes a decision another than the one before: what held, and which way it went.
fn kind(facts: &Facts) -> impl Copy + PartialEq + use<> {
    let Outcome {
        desired_replicas,
        way,
        winner,
        stabilized,
        limited,
        ..
    } = &facts.outcome;
    (
        *way,
        *winner,
        stabilized.map(|step| step.reason),
        limited.map(|step| step.reason),
        desired_replicas.cmp(&facts.spec_replicas),
        facts
            .metrics
            .iter()
            .filter(|metric| metric.error.is_some())
            .count(),
    )
}

/// The sentences hold the decision's numbers.
fn tell(facts: &Facts) {
    let told = Explanation::new(facts);
    let has = format!("web has {} replica", facts.outcome.desired_replicas);
    assert!(told.headline.starts_with(&has), "{}", told.headline);
    assert_eq!(told.metrics.len(), facts.metrics.len());
    for (line, metric) in told.metrics.iter().zip(&facts.metrics) {
        let asks = match (metric.proposed_replicas, &metric.error) {
            (Some(_), _) if metric.within_tolerance => "no change".to_owned(),
            (Some(replicas), _) => replicas.max(0).to_string(),
            (None, error) => error.clone().unwrap_or("was not read".to_owned()),
        };
        assert_eq!(line.asks, asks);
    }
    match facts.outcome.way {
        Way::Metrics => {
            let winner = &facts.metrics[facts.outcome.winner.unwrap()];
            let asked = format!("asked for {}", winner.proposed_replicas.unwrap().max(0));
            let asked = if winner.within_tolerance {
                "asked for no change"
            } else {
                &asked
            };
            assert!(told.headline.contains(asked), "{}", told.headline);
            assert!(!told.steps.is_empty() && !told.changes.is_empty());
        }
        _ => assert!(told.steps.is_empty()),
    }
}

/// More pods come at the value at which they are said to, and not just below it; fewer come when they are said to. The
/// HPA that tries it is the one of the replay.
fn try_changes(hpa: &Autoscaler, facts: &Facts, observed: &Observation) {
    let desired = facts.replicas();
    let mut next = observed.clone();
    if desired < next.spec_replicas {
        return;
    }
    (next.spec_replicas, next.status_replicas) = (desired, desired);
    for change in changes(facts) {
        match change {
            Change::More {
                metric,
                at_least_milli,
                after: Some(after),
                ..
            } if after < SYNC_PERIOD
                && matches!(facts.spec.metrics[metric], MetricSpec::External { .. }) =>
            {
                let decide = |milli| {
                    let mut next = next.clone();
                    next.answers[metric] = Ok(Answer::Values(vec![milli]));
                    hpa.clone().decide(facts.at + after, &next).desired
                };
                assert!(desired < decide(at_least_milli));
                let waits = hpa.clone().decide(facts.at + after, &next).desired;
                assert!(decide(at_least_milli - 1) <= desired.max(waits));
            }
            Change::Waiting {
                to,
                after: Some(after),
            } if after < SYNC_PERIOD => {
                assert_eq!(hpa.clone().decide(facts.at + after, &next).desired, to);
            }
            _ => {}
        }
    }
}

#[test]
fn recorded_decisions_of_every_kind_are_told_with_their_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hpa-recordings");
    let (mut decisions, mut told) = (0, 0);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let recording = Recording::parse(&fs::read_to_string(&path).unwrap()).unwrap();
            let (had, told_of) = explain(&recording);
            decisions += had;
            told += told_of;
        }
    }
    println!("{told} of {decisions}");
    assert!(5_000 < decisions && 500 < told, "{told} of {decisions}");
}
