//! A recorder that is told a load, request by request, and what it makes of it.

use super::*;
use crate::measured::{Counts, YOUNG};

const TIMEOUT: Duration = Duration::from_secs(5);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn endpoint(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn finished(intended: Duration, latency: Duration) -> Finished {
    Finished {
        intended,
        kind: 0,
        lag: Duration::ZERO,
        latency,
        raw: Some(latency),
        endpoint: None,
        retried: false,
        outcome: Ok(()),
    }
}

fn recorder(seconds: u64) -> Recorder {
    Recorder::new(100, Duration::from_secs(seconds), TIMEOUT)
}

/// Offers a request and ends it.
fn tell(recorder: &mut Recorder, request: &Finished) {
    assert!(recorder.offer(request.intended, request.kind, usize::MAX));
    recorder.finished(request);
}

/// The same of a request that this endpoint answered.
fn tell_of(recorder: &mut Recorder, address: SocketAddr, request: &Finished) {
    let endpoint = recorder.endpoint(address);
    let request = request.clone();
    tell(
        recorder,
        &Finished {
            endpoint,
            ..request
        },
    );
}

#[test]
fn in_virtual_time_the_same_is_measured_for_less() {
    let told = |mut recorder: Recorder| {
        for nth in 0..50 {
            let outcome = match nth % 5 {
                0 => Err(ErrorClass::Timeout),
                1 => Err(ErrorClass::NoEndpoint),
                _ => Ok(()),
            };
            let request = finished(ms(nth * 50), ms(nth * nth));
            let raw = request
                .raw
                .filter(|_| outcome != Err(ErrorClass::NoEndpoint));
            let request = Finished {
                outcome,
                raw,
                ..request
            };
            tell(&mut recorder, &request);
        }
        recorder.offer(ms(2_900), 0, usize::MAX);
        recorder.finish(ms(3_000), false).0
    };
    assert_eq!(told(recorder(3).prompt()), told(recorder(3)));
}

#[test]
fn a_request_is_in_the_second_in_which_it_should_have_started() {
    let mut recorder = recorder(3);
    tell(&mut recorder, &finished(ms(900), ms(1_500)));
    tell(&mut recorder, &finished(ms(1_000), ms(10)));
    // At the very end of the load: no second of its own.
    tell(&mut recorder, &finished(ms(3_000), ms(10)));
    let (measured, published) = recorder.finish(ms(3_010), false);
    let ok: Vec<u64> = measured.slots.iter().map(|slot| slot.counts.ok).collect();
    assert_eq!(ok, [1, 1, 1]);
    assert_eq!((measured.counts.ok, measured.latency.count()), (3, 3));
    assert_eq!(published.len(), 3);
    assert!(ms(1_500) <= measured.slots[0].quantile(0.5).unwrap());
}

#[test]
fn a_second_is_published_a_second_after_it_and_folded_when_all_have_ended() {
    let mut recorder = recorder(60);
    let slow = finished(ms(500), ms(3_600));
    assert!(recorder.offer(slow.intended, 0, usize::MAX));
    tell(&mut recorder, &finished(ms(600), ms(10)));
    recorder.expect_next(ms(5_000));
    assert!(recorder.advance(1).is_empty());
    let published = recorder.advance(2);
    let [first] = &published[..] else {
        panic!("{published:?}")
    };
    assert_eq!((first.second, first.counts.ok, first.in_flight), (0, 1, 1));
    // The one under way has waited for a second at least, and counts with that.
    assert!(ms(990) < first.p99.unwrap());
    assert_eq!(recorder.advance(4).len(), 2);
    assert!(recorder.measured.slots.is_empty());
    recorder.finished(&slow);
    assert_eq!(recorder.so_far().counts.ok, 2);
    recorder.advance(5);
    assert_eq!(recorder.measured.slots.len(), 4);
    assert_eq!(recorder.so_far().latency.count(), 2);
}

#[test]
fn what_never_ends_is_unfinished_and_what_was_dropped_is_not() {
    let mut recorder = recorder(2).with_kinds(["buy", "list"]);
    assert!(recorder.offer(ms(1), 0, 2));
    assert!(recorder.offer(ms(2), 1, 2));
    assert!(!recorder.offer(ms(3), 1, 2));
    recorder.finished(&Finished {
        kind: 1,
        ..finished(ms(2), ms(5))
    });
    assert!(recorder.offer(ms(4), 0, 2));
    let (measured, _) = recorder.finish(ms(10), true);
    let counts = |counts: &Counts| (counts.offered, counts.ok, counts.dropped, counts.unfinished);
    assert_eq!(counts(&measured.counts), (4, 1, 1, 2));
    assert_eq!(counts(&measured.slots[0].counts), (4, 1, 1, 2));
    assert_eq!(counts(&measured.requests["buy"].counts), (2, 0, 0, 2));
    assert_eq!(counts(&measured.requests["list"].counts), (2, 1, 1, 0));
    assert!(measured.interrupted);
}

#[test]
fn an_endpoint_is_young_for_a_while_unless_it_was_there_before() {
    let mut recorder = recorder(100);
    recorder.were_there([endpoint(1)]);
    let young_s = YOUNG.as_secs();
    for (second, at) in [(0, 1), (10, 2), (10 + young_s - 1, 2), (11 + young_s, 2)] {
        let request = finished(Duration::from_secs(second), ms(100));
        tell_of(&mut recorder, endpoint(at), &request);
    }
    let (measured, _) = recorder.finish(ms(100_000), false);
    let young: Vec<usize> = (0..measured.slots.len())
        .filter(|second| 0 < measured.young_of(*second..second + 1).count())
        .collect();
    assert_eq!(young, [10, 9 + young_s as usize]);
    let second = &measured.endpoints[&endpoint(2)];
    assert_eq!((second.ok, second.first_ok_s), (3, Some(10.1)));
    let [by_endpoint] = &measured.slots[10].endpoints[..] else {
        panic!("one endpoint")
    };
    assert_eq!((by_endpoint.index, by_endpoint.ok), (second.index, 1));
}

#[test]
fn recorders_of_two_threads_together_are_as_one() {
    let request = |n: u64| Finished {
        intended: ms(n * 10),
        kind: (n % 3) as usize,
        lag: ms(n % 7 * 20),
        retried: n.is_multiple_of(50),
        outcome: if n.is_multiple_of(11) {
            Err(ErrorClass::Broken)
        } else {
            Ok(())
        },
        ..finished(ms(n * 10), ms(1 + n % 900))
    };
    let new = || recorder(10).with_kinds(["a", "b", "c"]);
    let (mut one, mut sum, mut threads) = (new(), new(), [new(), new()]);
    for n in 0..1_000 {
        let (request, address) = (request(n), endpoint((n % 5) as u8));
        tell_of(&mut one, address, &request);
        tell_of(&mut threads[(n % 2) as usize], address, &request);
        if n % 100 == 99 {
            let parts = threads.each_mut().map(Recorder::take_part);
            sum.expect(n / 100, parts.iter().map(|part| part.in_flight).sum());
            parts.into_iter().for_each(|part| sum.absorb(part));
            sum.advance(n / 100);
            let kinds = sum.so_far().requests;
            let offered: u64 = kinds.values().map(|kind| kind.counts.offered).sum();
            assert_eq!(offered, n + 1, "while the run goes on");
        }
    }
    threads.iter().for_each(|thread| sum.absorb_totals(thread));
    let (mut one, _) = one.finish(ms(11_000), false);
    let (mut sum, _) = sum.finish(ms(11_000), false);
    // Endpoints may be numbered otherwise; the numbers mean the same.
    for measured in [&mut one, &mut sum] {
        let mut order: Vec<u16> = measured
            .endpoints
            .values()
            .map(|counts| counts.index)
            .collect();
        let place = |index: u16| order.iter().position(|other| *other == index).unwrap() as u16;
        for slot in &mut measured.slots {
            slot.endpoints
                .iter_mut()
                .for_each(|endpoint| endpoint.index = place(endpoint.index));
            slot.endpoints
                .sort_unstable_by_key(|endpoint| endpoint.index);
        }
        order.clear();
        measured
            .endpoints
            .values_mut()
            .for_each(|counts| counts.index = 0);
    }
    assert_eq!(one.slots, sum.slots);
    assert_eq!(one, sum);
    assert_eq!((one.counts.ok, one.late), (909, 142));
}

#[test]
fn a_long_run_keeps_its_memory_and_makes_its_oldest_seconds_coarse() {
    let mut recorder = recorder(3_600);
    let mut second = OpenSlot::default();
    let latencies = (0..6_000u64).map(|n| Duration::from_micros(200 + n * n));
    latencies.for_each(|latency| second.latencies.record(latency));
    (0..400).for_each(|_| recorder.fold(&second));
    assert!(recorder.pairs <= PAIRS_MAX, "{}", recorder.pairs);
    assert!(0 < recorder.coarse && recorder.coarse < recorder.measured.slots.len());
    let (measured, _) = recorder.finish(Duration::from_secs(400), false);
    assert_eq!(measured.latency.count(), 400 * 6_000);
    let [old, new] = [0, 399].map(|second| measured.slots[second].quantile(0.95).unwrap());
    assert!(old.abs_diff(new) * 100 < new, "{old:?} and {new:?}");
}
