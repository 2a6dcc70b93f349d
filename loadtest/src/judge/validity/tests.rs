//! Each premise, held and broken.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::Outcome::{Inconclusive, Pass, Skipped};
use super::super::fixture::{Fixture, SERVICE};
use super::*;
use crate::measured::EndpointCounts;
use crate::recording::{About, Backend, Gap, SpecChange};
use crate::scenario::{Event, Executor, Load, Pacing, Placing, Span};

fn found(run: Fixture, name: &str) -> Finding {
    let findings = judge(&run.recording());
    let finding = findings.iter().find(|finding| finding.name == name);
    finding
        .unwrap_or_else(|| panic!("no {name} in {findings:?}"))
        .clone()
}

fn high() -> Fixture {
    Fixture::new(100).stage("high", 0.0, 60.0)
}

#[test]
fn a_stage_whose_requests_were_late_was_not_offered() {
    let late = |late: u64| {
        let run = high().with(|run| {
            let slots = &mut run.services.get_mut(SERVICE).unwrap().load.slots;
            slots[0].late = late.min(50);
            slots[1].late = late - late.min(50);
            slots[70].late = 100; // of no stage
        });
        found(run, "offered_load[high]")
    };
    let finding = late(60);
    assert_eq!((finding.outcome, finding.value), (Pass, Some(0.99)));
    let finding = late(61);
    assert_eq!(finding.outcome, Inconclusive);
    assert_eq!((finding.from_s, finding.to_s), (Some(0.0), Some(60.0)));
    assert!(
        finding
            .sentence
            .contains("98.98 % of the 6000 requests of high"),
        "{}",
        finding.sentence
    );
    let idle = high().load(0, 60, 0, 0);
    assert_eq!(found(idle, "offered_load[high]").outcome, Skipped);
}

#[test]
fn one_late_request_of_a_few_does_not_spoil_a_stage() {
    let of_each_second = |rate: u64, late: u64| {
        let run = high().load(0, 60, 0, 0).load(0, 1, rate, 100).with(|run| {
            run.services.get_mut(SERVICE).unwrap().load.slots[0].late = late;
        });
        found(run, "offered_load[high]").outcome
    };
    assert_eq!(of_each_second(60, 1), Pass);
    assert_eq!(of_each_second(60, 2), Inconclusive);
    assert_eq!(of_each_second(1, 1), Inconclusive, "nothing was left of it");
}

#[test]
fn a_drop_is_the_systems_when_answers_were_late() {
    let at = |speed: &str, max_in_flight: usize, late: u64| {
        let run = high().with(|run| {
            let load = Load {
                service: SERVICE.into(),
                executor: Executor::ConstantVus {
                    vus: 1,
                    duration: Span::from_secs(60),
                },
                arrivals: Placing::default(),
                max_in_flight,
                graceful_stop: Span::default(),
                start_time: Span::default(),
                pacing: Pacing::default(),
            };
            run.scenario.scenarios.insert("main".into(), load);
            let facts = &mut run.about.facts;
            facts.insert(About::SPEED.into(), speed.into());
            for slot in &mut run.services.get_mut(SERVICE).unwrap().load.slots {
                (slot.counts.offered, slot.counts.dropped, slot.late) = (200, 100, late);
            }
        });
        let run = run.recording();
        let slot = &run.services[SERVICE].load.slots[0];
        (
            dropped_by_lateness(&run, SERVICE, slot),
            judge(&run)[0].outcome,
        )
    };
    let dropped = |max_in_flight, late| at("1", max_in_flight, late);
    // 200 a second within the objective of 300 ms are 60 in flight.
    assert_eq!(dropped(60, 0), (100, Pass));
    assert_eq!(
        dropped(59, 0),
        (0, Inconclusive),
        "the limit is too small for a good system, too"
    );
    assert_eq!(
        dropped(60, 11),
        (0, Inconclusive),
        "the generator itself was late"
    );
    // Ten times as fast, they were 2000 a second.
    assert_eq!(at("10", 600, 0), (100, Pass));
    assert_eq!(at("10", 599, 0), (0, Inconclusive));
}

#[test]
fn requests_must_be_taken_up_at_once() {
    let lag = |slow_ms: u64, slow: u64| {
        let run = high().with(|run| {
            let lag = &mut run.services.get_mut(SERVICE).unwrap().load.lag;
            lag.record_many(Duration::from_micros(100), 1000 - slow);
            lag.record_many(Duration::from_millis(slow_ms), slow);
        });
        found(run, "send_lag").outcome
    };
    assert_eq!(
        [lag(50, 10), lag(9, 100), lag(50, 11)],
        [Pass, Pass, Inconclusive]
    );
    assert_eq!(
        found(high(), "send_lag").outcome,
        Skipped,
        "nothing was sent"
    );
}

#[test]
fn the_generator_must_have_cpu_to_spare() {
    let cpu = |busy: usize, throttled: u32| {
        let run = high().with(|run| {
            run.generator.cores = 2.0;
            run.generator.seconds = (1..=100)
                .map(|second| GeneratorSecond {
                    t_s: f64::from(second),
                    cpu: if (second as usize) <= busy { 2.0 } else { 0.2 },
                    throttled: u32::from(second == 50) * throttled,
                    in_flight: 0,
                })
                .collect();
        });
        let finding = found(run, "generator_cpu");
        (
            finding.outcome,
            finding.value.map(|share| (share * 100.0).round()),
        )
    };
    assert_eq!(cpu(1, 0), (Pass, Some(19.0)), "one busy second is none");
    assert_eq!(cpu(10, 0), (Inconclusive, Some(100.0)));
    assert_eq!(cpu(0, 1), (Inconclusive, Some(10.0)));
    assert_eq!(
        found(high(), "generator_cpu").outcome,
        Skipped,
        "nobody measured it"
    );
}

#[test]
fn nothing_may_be_out_of_sight_for_long() {
    let gap = |from_s: f64, to_s: Option<f64>| {
        let run = high().with(|run| {
            let gap = Gap {
                from_s,
                to_s,
                what: "the Deployment".into(),
            };
            run.services.get_mut(SERVICE).unwrap().gaps.push(gap);
        });
        let finding = found(run, "observation_gap");
        (finding.outcome, finding.value)
    };
    assert_eq!(gap(20.0, Some(35.0)), (Pass, Some(15.0)));
    assert_eq!(gap(20.0, Some(36.0)), (Inconclusive, Some(16.0)));
    assert_eq!(
        gap(84.0, None),
        (Inconclusive, Some(16.0)),
        "it lasts to the end of the run"
    );
    assert_eq!(
        gap(-50.0, Some(10.0)),
        (Pass, Some(10.0)),
        "what was before does not count"
    );
    assert_eq!(found(high(), "observation_gap").outcome, Pass);
}

/// Two minutes with as many requests a second for each backend, ready from these moments on.
fn spread(backends: &[(u32, f64)]) -> Finding {
    let run =
        Fixture::new(120).stage("high", 0.0, 120.0).with(|run| {
            let service = run.services.get_mut(SERVICE).unwrap();
            for (at, (_, ready_s)) in backends.iter().enumerate() {
                let address: SocketAddr = format!("10.0.0.{at}:8080").parse().unwrap();
                let counts = EndpointCounts {
                    index: at as u16,
                    ..EndpointCounts::default()
                };
                service.load.endpoints.insert(address, counts);
                let ready = Gap {
                    from_s: *ready_s,
                    to_s: None,
                    what: String::new(),
                };
                let backend = Backend {
                    pod: None,
                    ready: vec![ready],
                };
                service.backends.insert(address.to_string(), backend);
            }
            for slot in &mut service.load.slots {
                let counts = backends.iter().enumerate().map(|(at, (ok, _))| {
                    crate::measured::SlotEndpoint {
                        index: at as u16,
                        ok: *ok,
                        errors: 0,
                    }
                });
                slot.endpoints = counts.collect();
            }
        });
    found(run, "backend_spread[high]")
}

#[test]
fn every_backend_must_have_had_its_share() {
    assert_eq!(
        spread(&[(30, -60.0), (34, -60.0), (36, 30.0)]).outcome,
        Pass
    );
    let starved = spread(&[(60, -60.0), (60, -60.0), (0, 30.0)]);
    assert_eq!((starved.outcome, starved.value), (Inconclusive, Some(0.0)));
    assert!(
        starved
            .sentence
            .contains("the backend 10.0.0.2:8080 had 0 requests"),
        "{}",
        starved.sentence
    );
    let uneven = spread(&[(100, 0.0), (40, 0.0), (40, 0.0), (40, 0.0)]);
    assert_eq!(
        uneven.outcome, Inconclusive,
        "each has half of the mean, but they are not even: {}",
        uneven.sentence
    );
    let fresh = spread(&[(60, -60.0), (0, 112.0)]);
    assert_eq!(fresh.outcome, Skipped, "it had no time to get any");
    assert_eq!(spread(&[(60, 0.0)]).outcome, Skipped, "one has all");
    let few = spread(&[(60, 0.0), (0, 99.0)]);
    assert_eq!(few.outcome, Inconclusive, "{}", few.sentence);
}

#[test]
fn spread_is_not_judged_of_few_requests_or_short_stages() {
    assert_eq!(spread(&[(1, 0.0), (0, 0.0)]).outcome, Skipped);
    let names: Vec<_> = judge(&high().recording())
        .into_iter()
        .map(|finding| finding.name)
        .collect();
    assert!(
        !names.iter().any(|name| name.starts_with("backend_spread")),
        "{names:?}"
    );
}

#[test]
fn a_run_begins_small_and_quiet() {
    let outcome = |run: Fixture| found(run, "preconditions").outcome;
    assert_eq!(outcome(high()), Pass);
    assert_eq!(outcome(high().ready(&[(-60.0, 3)])), Inconclusive);
    let quiet = |seconds| {
        let run = high().desired(&[(-90.0, 4), (-30.0, 2)]);
        outcome(run.with(|run| run.scenario.preconditions.quiet = Span::from_secs(seconds)))
    };
    assert_eq!([quiet(20), quiet(40)], [Pass, Inconclusive]);
    let declared = high().ready(&[(-60.0, 3)]).desired(&[(-60.0, 3)]);
    let declared = declared.with(|run| {
        run.scenario
            .preconditions
            .replicas
            .insert(SERVICE.into(), 3);
    });
    assert_eq!(outcome(declared), Pass);
    let polled = high().ready(&[(1.0, 2)]).desired(&[(1.0, 2)]);
    assert_eq!(outcome(polled), Pass, "a first look soon after is one");
    assert_eq!(outcome(high().ready(&[(9.0, 2)])), Inconclusive);
}

#[test]
fn nobody_may_change_a_spec_but_the_scenario_itself() {
    let changed = |object: &str, t_s: f64, rollout: bool| {
        let run = high().with(|run| {
            let change = SpecChange {
                t_s,
                object: object.into(),
                text: "the image changed".into(),
            };
            run.services
                .get_mut(SERVICE)
                .unwrap()
                .spec_changes
                .push(change);
            if rollout {
                let action = Action::Undo {
                    service: SERVICE.into(),
                };
                let at = Span::from_secs(50);
                run.scenario.events.push(Event {
                    at,
                    until: None,
                    name: "undo".into(),
                    action,
                });
            }
        });
        found(run, "spec_unchanged").outcome
    };
    assert_eq!(changed("Deployment shop/users", 60.0, false), Inconclusive);
    assert_eq!(changed("Deployment shop/users", 60.0, true), Pass);
    assert_eq!(
        changed("Deployment shop/users", 10.0, true),
        Inconclusive,
        "long before"
    );
    assert_eq!(
        changed("HorizontalPodAutoscaler shop/users", 60.0, true),
        Inconclusive
    );
    assert_eq!(found(high(), "spec_unchanged").outcome, Pass);
}

#[test]
fn virtual_time_needs_no_proof_of_its_generator() {
    let run = high()
        .with(|run| run.about.tier = Tier::Virtual)
        .recording();
    let skipped: Vec<_> = judge(&run)
        .into_iter()
        .filter(|finding| finding.outcome == Skipped)
        .map(|finding| (finding.name, finding.sentence))
        .collect();
    let names: Vec<_> = skipped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "offered_load",
            "send_lag",
            "generator_cpu",
            "observation_gap"
        ]
    );
    assert!(skipped[0].1.contains("in virtual time"), "{skipped:?}");
}
