//! Contenders against one record that is written like an object of the API server: the second of two that read the same
//! version is refused.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The Lease as the API server keeps it.
#[derive(Default)]
struct Stored {
    record: Record,
    version: u64,
}

/// A contender whose clocks are its own.
struct Contender {
    election: Election,
    /// When it started, on the clock of the test.
    started: Duration,
    /// How far its wall clock is ahead, in microseconds.
    skew: i64,
}

/// What became of a step's write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Answered,
    /// Written, and the answer lost.
    Unheard,
    /// Never arrived.
    Lost,
}

impl Contender {
    fn new(name: &str, started: Duration, skew_s: i64) -> Self {
        Self {
            election: Election::new(name.into()),
            started,
            skew: skew_s * 1_000_000,
        }
    }

    /// Reads the Lease at `at`, and writes it then if that is its move.
    fn step(&mut self, at: Duration, stored: &mut Stored, fate: Fate) -> Duration {
        let (read, version) = (stored.record.clone(), stored.version);
        self.write(at, read, version, stored, fate)
    }

    /// The second half of a step, for what was `read` as `version` a while ago.
    fn write(
        &mut self,
        at: Duration,
        read: Record,
        version: u64,
        stored: &mut Stored,
        fate: Fate,
    ) -> Duration {
        let now = at - self.started;
        let mut record = match self.election.step(now, &read) {
            Move::Wait(wait) => return wait,
            Move::Write(record) => record,
        };
        record.renewed = Some(at.as_micros() as i64 + self.skew);
        record.lasts = Some(LEASE);
        if fate == Fate::Lost {
            return RETRY;
        }
        if version != stored.version {
            self.election.lost();
            return self.election.next_step();
        }
        *stored = Stored {
            record: record.clone(),
            version: version + 1,
        };
        if fate == Fate::Unheard {
            return RETRY;
        }
        self.election.written(now, record);
        self.election.next_step()
    }

    fn acts(&self, at: Duration) -> bool {
        self.election.holds(at - self.started)
    }
}

#[test]
fn a_lease_that_is_free_is_taken_at_once_and_by_one() {
    let mut stored = Stored::default();
    let (mut a, mut b) = (
        Contender::new("a", Duration::ZERO, 0),
        Contender::new("b", Duration::ZERO, 0),
    );
    // Both read the empty Lease before either writes.
    let (read, version) = (stored.record.clone(), stored.version);
    a.write(SECOND, read.clone(), version, &mut stored, Fate::Answered);
    let wait = b.write(SECOND, read, version, &mut stored, Fate::Answered);
    assert_eq!(wait, RETRY);
    assert!(a.acts(SECOND) && !b.acts(SECOND));
    assert_eq!(stored.record.holder.as_deref(), Some("a"));
    assert_eq!(stored.record.transitions, 1);
}

#[test]
fn a_holder_that_falls_silent_is_followed_after_a_lease_of_our_own_time_and_not_before() {
    // The holder's clock is an hour ahead, and then an hour behind: neither matters.
    for skew_s in [-3600, 0, 3600] {
        let mut stored = Stored::default();
        let mut a = Contender::new("a", Duration::ZERO, skew_s);
        let mut b = Contender::new("b", Duration::ZERO, 0);
        a.step(SECOND, &mut stored, Fate::Answered);
        let first_seen = SECOND * 2;
        b.step(first_seen, &mut stored, Fate::Answered);
        b.step(
            first_seen + LEASE - Duration::from_millis(1),
            &mut stored,
            Fate::Answered,
        );
        assert_eq!(stored.record.holder.as_deref(), Some("a"));
        b.step(first_seen + LEASE, &mut stored, Fate::Answered);
        assert_eq!(stored.record.holder.as_deref(), Some("b"));
        assert!(!a.acts(first_seen + LEASE));
        assert!(b.acts(first_seen + LEASE));
    }
}

#[test]
fn a_renewal_starts_the_wait_anew() {
    let mut stored = Stored::default();
    let mut a = Contender::new("a", Duration::ZERO, 0);
    let mut b = Contender::new("b", Duration::ZERO, 0);
    for second in 0..120 {
        a.step(SECOND * second, &mut stored, Fate::Answered);
        b.step(SECOND * second + SECOND / 2, &mut stored, Fate::Answered);
        assert!(a.acts(SECOND * second + SECOND / 2), "at second {second}");
        assert!(!b.acts(SECOND * second + SECOND / 2), "at second {second}");
    }
}

#[test]
fn a_lease_that_is_given_back_need_not_run_out() {
    let mut stored = Stored::default();
    let mut a = Contender::new("a", Duration::ZERO, 0);
    let mut b = Contender::new("b", Duration::ZERO, 0);
    a.step(SECOND, &mut stored, Fate::Answered);
    b.step(SECOND, &mut stored, Fate::Answered);
    assert_eq!(b.election.release(&stored.record), None, "it is not b's");
    stored.record = a.election.release(&stored.record).expect("it is a's");
    assert!(!a.acts(SECOND));
    b.step(SECOND * 2, &mut stored, Fate::Answered);
    assert!(b.acts(SECOND * 2));
}

#[test]
fn an_answer_that_was_lost_costs_no_lease() {
    let mut stored = Stored::default();
    let mut a = Contender::new("a", Duration::ZERO, 0);
    a.step(SECOND, &mut stored, Fate::Unheard);
    assert!(!a.acts(SECOND), "it does not know");
    a.step(SECOND * 3, &mut stored, Fate::Answered);
    assert!(a.acts(SECOND * 3));
    assert_eq!(stored.record.transitions, 1);
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => Just(Fate::Answered), 1 => Just(Fate::Unheard), 1 => Just(Fate::Lost)]
}

proptest! {
    /// Steps of any timing, with requests that hang, answers that get lost, and clocks hours apart.
    #[test]
    fn two_never_act_at_once(
        skews in prop::array::uniform3(-3600_i64..3600),
        starts in prop::array::uniform3(0_u64..20_000),
        steps in prop::collection::vec((0_usize..3, 1_u64..6_000, 0_u64..5_000, fate()), 1..200),
    ) {
        let mut stored = Stored::default();
        let mut contenders: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(starts.iter().zip(skews))
            .map(|(name, (start, skew))| Contender::new(name, Duration::from_millis(*start), skew))
            .collect();
        let mut at = Duration::from_secs(20);
        for (who, later, hangs, fate) in steps {
            at += Duration::from_millis(later);
            let (read, version) = (stored.record.clone(), stored.version);
            // The write lands when the request is answered; the hold counts from when it was sent.
            let contender = &mut contenders[who];
            contender.write(at, read, version, &mut stored, fate);
            at += Duration::from_millis(hangs);
            let acting = contenders.iter().filter(|contender| contender.acts(at)).count();
            prop_assert!(acting <= 1, "{acting} act at {at:?}");
        }
    }
}
