//! Pods that come and go: what of them counts while they start, warm up, are replaced and end.

use proptest::prelude::*;

use super::*;

const INTERVAL_MS: i64 = 5_000;

const WINDOW_MS: i64 = 30_000;

/// Requests that make a process warm, at 20 a second.
const WARM_AFTER_MS: i64 = 3_000;

fn pod(name: &str) -> TargetId {
    TargetId::new(&users(), name)
}

fn ready(since_s: f64) -> Phase {
    Phase::Ready { since: at(since_s) }
}

fn unreachable_pod() -> Failure {
    Failure::new(FailureReason::Refused, "nobody listens")
}

fn rate(engine: &mut Engine, now_s: f64) -> f64 {
    value(&engine.evaluate(at(now_s)), "request_rate", &[]).unwrap()
}

/// A pod of a simulated rollout. Times are in milliseconds.
struct Pod {
    name: String,
    /// Where its reads lie on the grid of the interval.
    offset: i64,
    begins: i64,
    ready: i64,
    leaves: i64,
    /// From here on it cannot be read.
    exits: i64,
    forgotten: i64,
    answered: f64,
}

impl Pod {
    fn serves(&self, now: i64) -> bool {
        (self.ready..self.leaves).contains(&now)
    }

    fn phase(&self, now: i64) -> Phase {
        match now {
            _ if now < self.ready => Phase::Starting,
            _ if now < self.leaves => Phase::Ready {
                since: Timestamp::from_ms(self.ready),
            },
            _ => Phase::Leaving,
        }
    }

    /// Its last read at `now` or before.
    fn read_before(&self, now: i64) -> i64 {
        now - (now - self.offset).rem_euclid(INTERVAL_MS)
    }

    /// For how long of the window that ends at `now` nobody can know what it answered.
    fn unseen_ms(&self, now: i64) -> f64 {
        if 0 < self.ready {
            self.unseen_at_first(now)
        } else {
            self.unseen_at_last(now)
        }
    }

    /// A new one is known with its first read after it became ready. Until it is warm, what is extrapolated begins with
    /// the read before, as if it had answered since then; and what rose between the two leaves the window as evenly.
    fn unseen_at_first(&self, now: i64) -> f64 {
        if now < self.ready {
            return 0.0;
        }
        let first = self.read_before(self.ready + INTERVAL_MS - 1);
        let served = (first - self.ready) as f64;
        let share = served / INTERVAL_MS as f64;
        let start = now - WINDOW_MS;
        if (first - INTERVAL_MS..first).contains(&start) {
            let answered = (first - start.max(self.ready)) as f64;
            let shown = share * (first - start) as f64;
            return (answered - shown).max(0.0);
        }
        let since_read = (now - self.read_before(now)) as f64;
        match (now - first).div_euclid(INTERVAL_MS) {
            ..0 => (now - self.ready) as f64,
            0 => since_read * (1.0 - share),
            1 if first - self.ready <= WARM_AFTER_MS => since_read * (1.0 - share) / 2.0,
            _ => 0.0,
        }
    }

    /// What an old one answered after its last read is taken for like what it answered before, for as long as a read is
    /// in the window that says so.
    fn unseen_at_last(&self, now: i64) -> f64 {
        let last = self.read_before(self.exits.min(now + 1) - 1);
        let start = now - WINDOW_MS;
        if last <= start {
            (self.leaves - start).max(0) as f64
        } else {
            0.0
        }
    }

    fn live(&mut self, now: i64, engine: &mut Engine) {
        let target = pod(&self.name);
        let now_s = now as f64 / 1000.0;
        if [self.begins, self.ready, self.leaves].contains(&now) {
            engine.expect(&target, self.phase(now), at(now_s));
        }
        if now == self.forgotten {
            engine.forget(&target);
        }
        let is_read =
            (self.begins..self.forgotten).contains(&now) && (now - self.offset) % INTERVAL_MS == 0;
        if is_read && now < self.exits {
            engine.ingest(&mk_batch(&self.name, now_s, &[self.answered; 4]));
        } else if is_read {
            engine.fail(&target, unreachable_pod(), at(now_s));
        }
    }
}

/// Ten pods that serve from the start, and ten that replace them one by one, `gap` apart.
fn rollout(offsets: &[i64], gap: i64, grace: i64) -> Vec<Pod> {
    let mk = |i: usize, replaced: bool| {
        let turn = 60_000 + i as i64 * gap;
        let leaves = if replaced { turn } else { i64::MAX };
        Pod {
            name: format!("{}{i}", if replaced { "old" } else { "new" }),
            offset: offsets[i + if replaced { 0 } else { 10 }],
            begins: if replaced { 0 } else { turn - 12_000 },
            ready: if replaced { 0 } else { turn },
            leaves,
            exits: leaves.saturating_add(grace),
            forgotten: leaves.saturating_add(30_000),
            answered: if replaced { 1e6 } else { 0.0 },
        }
    };
    (0..10).flat_map(|i| [mk(i, true), mk(i, false)]).collect()
}

/// Plays such a rollout under 200 requests a second in all, and two probes a second to each pod that is not ready. The
/// rate is what was really answered but for what nobody can know: that alone may be missing, and no more than a
/// hundredth may be too much.
#[track_caller]
fn check_rollout(offsets: &[i64], gap: i64, grace: i64) {
    let mut engine = mk_engine();
    let mut pods = rollout(offsets, gap, grace);
    for now in (0..60_000 + 10 * gap + 60_000).step_by(100) {
        let serving = pods.iter().filter(|pod| pod.serves(now)).count() as f64;
        for pod in &mut pods {
            pod.answered += match pod.serves(now) {
                true => 20.0 / serving,
                false if pod.begins <= now && now < pod.ready => 0.2,
                false => 0.0,
            };
            pod.live(now, &mut engine);
        }
        if 40_000 <= now && now % 1000 == 0 {
            let rate = rate(&mut engine, now as f64 / 1000.0);
            let unseen_ms: f64 = pods.iter().map(|pod| pod.unseen_ms(now)).sum();
            // Requests come in steps of 0.1 s, so each pod's first and last ones may be counted a step late.
            let least = 200.0 - 20.0 * unseen_ms / WINDOW_MS as f64 - 1.0;
            assert!(
                (least..202.0).contains(&rate),
                "{rate} at {now}, at least {least}"
            );
            assert!(190.0 < least, "{unseen_ms} ms at {now} cannot be known");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_rollout_under_constant_load_shows_neither_a_dip_nor_a_ghost(
        offsets in prop::collection::vec((0i64..50).prop_map(|tenths| tenths * 100), 20),
        gap in (80i64..200).prop_map(|tenths| tenths * 100),
        grace in (10i64..100).prop_map(|tenths| tenths * 100),
    ) {
        check_rollout(&offsets, gap, grace);
    }

    #[test]
    fn phases_in_any_order_yield_finite_values_or_none(
        steps in prop::collection::vec((0u8..9, 0usize..3, 0i64..9_000, 0.0f64..500.0), 1..200),
    ) {
        let mut engine = mk_engine();
        let mut now = 1_000_000i64;
        for (step, which, gap, count) in steps {
            now += gap;
            let (name, instant) = (["a", "b", "c"][which], Timestamp::from_ms(now));
            let target = pod(name);
            match step {
                0 => engine.expect(&target, Phase::Starting, instant),
                1 => engine.expect(&target, Phase::Ready { since: instant }, instant),
                2 => engine.expect(&target, Phase::default(), instant),
                3 => engine.expect(&target, Phase::Leaving, instant),
                4 => engine.forget(&target),
                5 => engine.fail(&target, unreachable_pod(), instant),
                6 => engine.begin_anew(&target, instant),
                _ => {
                    engine.ingest(&mk_batch(name, now as f64 / 1000.0, &[count; 4]));
                }
            }
            let snapshot = engine.evaluate(instant);
            for metric in ["request_rate", "request_latency_ms", "slow_request_ratio"] {
                match value(&snapshot, metric, &[]) {
                    Ok(value) => prop_assert!(value.is_finite() && 0.0 <= value),
                    Err(refusal) => prop_assert!(matches!(refusal, Refusal::Absent(_)), "{:?}", refusal),
                }
            }
        }
    }
}

#[test]
fn a_rollout_of_pods_that_are_read_long_before_they_end_shows_no_dip() {
    // Each is read for the last time four seconds before it is told to end, and has ended by the next time. Each new
    // one is read just before it becomes ready.
    let gap = 8_000;
    let old = (0..10).map(|i| (60_000 + i * gap - 4_000) % INTERVAL_MS);
    let new = (0..10).map(|i| (60_000 + i * gap - 100) % INTERVAL_MS);
    let offsets: Vec<i64> = old.chain(new).collect();
    check_rollout(&offsets, gap, 1_000);
}

#[test]
fn a_pod_that_failed_before_it_was_told_to_end_is_taken_for_no_more_than_was_read() {
    // Ten a second from each: 24 s of the window are read, and of one that answered until 63 s three more are known.
    for (failed_first, rate_at_66_s) in [(true, 18.0), (false, 19.0)] {
        let mut engine = mk_engine();
        for name in ["stays", "goes"] {
            engine.expect(&pod(name), ready(-100.0), at(0.0));
            run_target(&mut engine, name, 0.0, 60.0, [1e6; 4], [50.0; 4]);
        }
        if failed_first {
            engine.fail(&pod("goes"), unreachable_pod(), at(62.5));
        }
        engine.expect(&pod("goes"), Phase::Leaving, at(63.0));
        engine.fail(&pod("goes"), unreachable_pod(), at(65.0));
        engine.ingest(&mk_batch("stays", 65.0, &[1e6 + 650.0; 4]));
        check(&engine.evaluate(at(66.0)), "request_rate", rate_at_66_s);
    }
}

#[test]
fn pods_that_are_not_ready_are_neither_known_nor_unknown() {
    let mut engine = mk_engine();
    for i in 0..3 {
        engine.expect(&pod(&format!("p{i}")), Phase::Starting, at(0.0));
    }
    engine.fail(&pod("p0"), unreachable_pod(), at(5.0));
    run_target(&mut engine, "p1", 5.0, 60.0, [0.0; 4], [50.0; 4]);
    let snapshot = engine.evaluate(at(60.0));
    check_absent(&snapshot, "none of its 3 pods has become ready yet");
    let coverage = &snapshot.service("shop", "users").unwrap().coverage;
    assert_eq!((coverage.not_ready, coverage.total()), (3, 3));
    assert!(coverage.failures.is_empty());
}

#[test]
fn what_a_pod_answered_before_it_was_ready_is_no_load_afterwards() {
    for (last_read_s, first_known_s) in [(58.0, 63.0), (40.0, 68.0)] {
        let mut engine = mk_engine();
        engine.expect(&pod("a"), Phase::Starting, at(0.0));
        run_target(&mut engine, "a", 3.0, last_read_s, [0.0; 4], [500.0; 4]);
        // 90 more until it is ready, unless it was read only long before: then nobody knows how many.
        let before = if last_read_s < 50.0 { 1e6 } else { 5500.0 };
        engine.expect(&pod("a"), ready(60.0), at(60.0));
        check_absent(&engine.evaluate(at(60.0)), "read twice");
        for read in 0..8 {
            let now_s = 63.0 + f64::from(read) * 5.0;
            let n = before + f64::from(read + 1) * 50.0;
            engine.ingest(&mk_batch("a", now_s, &[n; 4]));
            let snapshot = engine.evaluate(at(now_s));
            if first_known_s <= now_s {
                let rate = value(&snapshot, "request_rate", &[]).unwrap();
                assert!((1.6..=10.1).contains(&rate), "{rate} at {now_s}");
            } else {
                check_absent(&snapshot, "read twice");
            }
        }
        check(&engine.evaluate(at(98.0)), "request_rate", 10.0);
    }
}

#[test]
fn a_version_that_never_becomes_ready_moves_nothing() {
    let (mut engine, mut without) = (mk_engine(), mk_engine());
    let names: Vec<String> = (0..4).map(|i| format!("good{i}")).collect();
    for second in 0..200 {
        let now_s = f64::from(second);
        for (i, name) in names.iter().enumerate() {
            for engine in [&mut engine, &mut without] {
                if second == 0 {
                    engine.expect(&pod(name), ready(-500.0), at(now_s));
                }
                if second % 5 == i as i32 {
                    let mut reading = Reading {
                        in_flight: Some(3.0),
                        cpu_seconds: Some(now_s * 0.7),
                        ..Reading::default()
                    };
                    let n = now_s * 13.7;
                    mk_series(&mut reading, 1, &FINE, &[n * 0.3, n * 0.8, n, n]);
                    engine.ingest(&mk_batch_of(name, now_s, reading));
                }
            }
        }
        // Three bad pods: one fails its probes with slow answers, one restarts again and again, one never listens.
        for (i, name) in ["a-bad", "h-bad", "z-bad"].into_iter().enumerate() {
            let target = pod(name);
            match second {
                60 => engine.expect(&target, Phase::Starting, at(now_s)),
                120 => engine.expect(&target, Phase::Leaving, at(now_s)),
                140 => engine.forget(&target),
                61..140 if i == 2 => engine.fail(&target, unreachable_pod(), at(now_s)),
                61..140 if second % 5 == 0 => {
                    let n = f64::from(second - 60 * i as i32).rem_euclid(20.0) * 90.0;
                    engine.ingest(&mk_batch(name, now_s, &[0.0, 0.0, 0.0, n]));
                }
                _ => {}
            }
        }
        let (with, without) = (engine.evaluate(at(now_s)), without.evaluate(at(now_s)));
        let view = |snapshot: &Snapshot| {
            let view = snapshot.service("shop", "users").unwrap();
            (
                view.state.clone(),
                view.at,
                view.windows.clone(),
                view.in_flight,
            )
        };
        assert_eq!(view(&with), view(&without), "at {now_s}");
    }
}

#[test]
fn a_pod_that_was_told_to_end_is_not_missed_and_leaves_no_ghost() {
    let mut engine = mk_engine();
    for name in ["stays", "goes"] {
        engine.expect(&pod(name), ready(-100.0), at(0.0));
        run_target(&mut engine, name, 0.0, 60.0, [1e6; 4], [50.0; 4]);
    }
    engine.expect(&pod("goes"), Phase::Leaving, at(62.0));
    let coverage = |engine: &mut Engine, now_s| {
        let snapshot = engine.evaluate(at(now_s));
        let view = snapshot.service("shop", "users").unwrap();
        assert_eq!(view.state, State::Ok, "at {now_s}");
        (view.coverage.known, view.coverage.leaving)
    };
    assert_eq!(coverage(&mut engine, 63.0), (1, 1));
    // Its last requests are in with its last read.
    engine.ingest(&mk_batch("goes", 65.0, &[1e6 + 620.0; 4]));
    for read in 1..=8 {
        let now_s = 60.0 + f64::from(read) * 5.0;
        engine.ingest(&mk_batch(
            "stays",
            now_s,
            &[1e6 + 600.0 + f64::from(read) * 50.0; 4],
        ));
        if 65.0 < now_s {
            engine.fail(&pod("goes"), unreachable_pod(), at(now_s));
            assert_eq!(coverage(&mut engine, now_s), (1, 0));
        }
        // No more than it really answered in the window, which ends 30 s after its last read.
        let its_own = (620.0 - 10.0 * (now_s - 30.0)).max(0.0) / 30.0;
        let rate = rate(&mut engine, now_s);
        assert!(rate <= 10.0 + its_own + 0.2, "{rate} at {now_s}");
        if 95.0 <= now_s {
            assert!((rate - 10.0).abs() < 1e-6, "{rate} at {now_s}");
        }
    }
    engine.forget(&pod("goes"));
    check(&engine.evaluate(at(100.0)), "request_rate", 10.0);
}

#[test]
fn pods_that_leave_answer_for_a_service_whose_new_ones_are_not_ready_yet() {
    let mut engine = mk_engine();
    engine.expect(&pod("old"), ready(-100.0), at(0.0));
    run_target(&mut engine, "old", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    engine.expect(&pod("old"), Phase::Leaving, at(60.0));
    engine.expect(&pod("new"), Phase::Starting, at(60.0));
    check(&engine.evaluate(at(60.0)), "request_rate", 10.0);
    engine.fail(&pod("old"), unreachable_pod(), at(65.0));
    check_absent(&engine.evaluate(at(65.0)), "has become ready yet");
}

/// Two warm pods that answer 20 requests a second each within 0.1 s, and a third that is ready from 60 s on.
fn run_with_a_third(mut third: impl FnMut(&mut Engine, f64)) -> Vec<Snapshot> {
    let mut engine = mk_engine();
    let mut snapshots = Vec::new();
    for second in 0..180 {
        let now_s = f64::from(second);
        for name in ["a", "b"] {
            if second == 0 {
                engine.expect(&pod(name), ready(-500.0), at(now_s));
            }
            if second % 5 == 0 {
                engine.ingest(&mk_batch(name, now_s, &[1e6 + now_s * 20.0; 4]));
            }
        }
        third(&mut engine, now_s);
        if 30 <= second {
            snapshots.push(engine.evaluate(at(now_s)));
        }
    }
    snapshots
}

fn cold(snapshot: &Snapshot) -> u32 {
    snapshot.service("shop", "users").unwrap().coverage.cold
}

#[test]
fn the_slow_first_requests_of_a_new_pod_are_load_but_do_not_move_the_quantile() {
    let mut were_cold = 0;
    let snapshots = run_with_a_third(|engine, now_s| {
        if now_s == 50.0 {
            engine.expect(&pod("new"), Phase::Starting, at(now_s));
        }
        if now_s == 60.0 {
            engine.expect(&pod("new"), ready(60.0), at(now_s));
        }
        if 50.0 < now_s && now_s % 5.0 == 3.0 {
            let answered = (now_s - 60.0).max(0.0) * 20.0;
            let fast = (answered - 60.0).max(0.0);
            engine.ingest(&mk_batch("new", now_s, &[fast, fast, fast, answered]));
        }
    });
    for snapshot in &snapshots {
        check(snapshot, "request_latency_ms", 95.0);
        check(snapshot, "slow_request_ratio", 0.0);
        were_cold += cold(snapshot);
    }
    assert_eq!(were_cold, 5, "from its first rise to the next read");
    check(snapshots.last().unwrap(), "request_rate", 60.0);
}

#[test]
fn a_restarted_process_is_cold_again_and_what_it_answered_before_still_counts() {
    let snapshots = run_with_a_third(|engine, now_s| {
        if now_s == 0.0 {
            engine.expect(&pod("c"), ready(-500.0), at(now_s));
        }
        if now_s % 5.0 == 0.0 {
            // Half of its requests take 0.2 s, until it restarts at 100 s: then its first 60 take more than 0.5 s.
            let (slow, all) = if now_s < 100.0 {
                (0.0, now_s * 20.0)
            } else {
                ((now_s - 98.0).min(3.0) * 20.0, (now_s - 98.0) * 20.0)
            };
            let fast = if now_s < 100.0 { all / 2.0 } else { all - slow };
            engine.ingest(&mk_batch("c", now_s, &[fast, all - slow, all - slow, all]));
        }
    });
    // Five in six of all are fast, so 0.95 lies among the slow ones, before and just after the restart.
    check(&snapshots[99 - 30], "request_latency_ms", 205.0);
    let just_after = value(&snapshots[101 - 30], "request_latency_ms", &[]).unwrap();
    assert!((190.0..205.0).contains(&just_after), "{just_after}");
    for snapshot in &snapshots[70..] {
        check(snapshot, "slow_request_ratio", 0.0);
    }
    let were_cold: u32 = snapshots.iter().map(cold).sum();
    assert_eq!(were_cold, 10, "for two reads");
}

#[test]
fn where_all_are_new_the_cold_ones_are_all_there_is() {
    let mut engine = mk_engine();
    engine.expect(&pod("a"), ready(100.0), at(100.0));
    // One request a second, the first 50 slow: it is warm after a minute, and for another one its warm requests alone
    // are too few.
    let mut quantiles = Vec::new();
    for read in 0..40 {
        let n = f64::from(read) * 5.0;
        let slow = n.min(50.0);
        engine.ingest(&mk_batch("a", 100.0 + n, &[n - slow, n - slow, n, n]));
        if 2 <= read {
            let snapshot = engine.evaluate(at(100.0 + n));
            quantiles.push(value(&snapshot, "request_latency_ms", &[]).unwrap());
        }
    }
    assert!(
        250.0 < quantiles[0] && 250.0 < quantiles[18],
        "{quantiles:?}"
    );
    assert!(quantiles[37] < 100.0, "{quantiles:?}");
}

#[test]
fn a_pod_that_has_just_become_ready_does_not_hide_the_requests_in_flight_of_the_others() {
    let mut engine = mk_engine();
    let read = |engine: &mut Engine, name: &str, now_s: f64, in_flight: f64| {
        let mut reading = Reading {
            in_flight: Some(in_flight),
            ..Reading::default()
        };
        mk_series(&mut reading, 1, &FINE, &[now_s * 10.0; 4]);
        engine.ingest(&mk_batch_of(name, now_s, reading));
    };
    engine.expect(&pod("old"), ready(-100.0), at(0.0));
    engine.expect(&pod("new"), Phase::Starting, at(0.0));
    for i in 0..=12 {
        read(&mut engine, "old", f64::from(i) * 5.0, 4.0);
        read(&mut engine, "new", f64::from(i) * 5.0, 100.0);
    }
    engine.expect(&pod("new"), ready(61.0), at(61.0));
    let concurrency = |engine: &mut Engine, now_s: f64| {
        value(&engine.evaluate(at(now_s)), "request_concurrency", &[]).unwrap()
    };
    assert_eq!(concurrency(&mut engine, 61.0), 4.0);
    read(&mut engine, "new", 65.0, 2.0);
    // The reading at which it begins is part of its window.
    assert_eq!(concurrency(&mut engine, 65.0), 4.0 + 51.0);
}
