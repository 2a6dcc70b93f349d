//! Who asks: the moments at which the requests of a load start, how long each waits for its answer, and how many may be
//! under way.

use std::time::Duration;

use taffrail_loadtest::arrivals::Arrivals;
use taffrail_loadtest::arrivals::plan::{Plan, Schedule};

use super::nanos;
use super::requests::{Deadlines, Ref};

/// A load. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Clients {
    /// The service that it asks.
    pub(super) service: usize,
    /// Whether its requests have the token that the service wants.
    pub(super) has_token: bool,
    asks: Asks,
    timeout: i64,
    max_in_flight: usize,
    in_flight: usize,
    /// When its requests are given up.
    pub(super) deadlines: Deadlines,
    /// When it begins, when nothing more is asked, and when nobody waits any more.
    begin: i64,
    end: i64,
    give_up: i64,
}

/// When a load asks.
#[derive(Debug)]
enum Asks {
    /// At these moments, whether or not earlier requests were answered.
    Open {
        rest: Box<Arrivals>,
        next: Option<i64>,
    },
    /// When the request before was answered.
    Closed(usize),
}

impl Asks {
    fn open(mut arrivals: Arrivals) -> Self {
        Self::Open {
            next: arrivals.next().map(moment),
            rest: Box::new(arrivals),
        }
    }
}

impl Clients {
    /// The clients of a load on `service`.
    pub(super) fn new(service: usize, has_token: bool, load: &Plan, bounds: &Bounds) -> Self {
        let (begin, asks) = match &load.schedule {
            Schedule::Open { profile, spacing } => {
                (Duration::ZERO, Asks::open(Arrivals::new(profile, *spacing)))
            }
            Schedule::Closed { users, start, .. } => (*start, Asks::Closed(*users)),
        };
        let end = nanos(load.end());
        Self {
            service,
            has_token,
            asks,
            timeout: nanos(bounds.timeout),
            max_in_flight: bounds.max_in_flight,
            in_flight: 0,
            deadlines: Deadlines::default(),
            begin: nanos(begin),
            end,
            give_up: end + nanos(bounds.graceful_stop),
        }
    }

    /// The users of a closed loop.
    pub(super) fn users(&self) -> usize {
        match self.asks {
            Asks::Open { .. } => 0,
            Asks::Closed(users) => users,
        }
    }

    pub(super) fn begin(&self) -> i64 {
        self.begin
    }

    pub(super) fn end(&self) -> i64 {
        self.end
    }

    pub(super) fn give_up(&self) -> i64 {
        self.give_up
    }

    /// When the next request of an open loop should start.
    pub(super) fn next_at(&self) -> Option<i64> {
        match self.asks {
            Asks::Open { next, .. } => next,
            Asks::Closed(_) => None,
        }
    }

    /// Takes that request.
    pub(super) fn take_next(&mut self) {
        if let Asks::Open { rest, next } = &mut self.asks {
            *next = rest.next().map(moment);
        }
    }

    /// Whether another request may be sent now; it then counts as under way.
    pub(super) fn may_send(&mut self) -> bool {
        let may = self.in_flight < self.max_in_flight;
        self.in_flight += usize::from(may);
        may
    }

    /// A request that was sent has ended.
    pub(super) fn ended(&mut self) {
        self.in_flight -= 1;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Waits for `request`, which should have started at `intended`.
    pub(super) fn wait_for(&mut self, request: Ref, intended: i64) {
        self.deadlines.push(intended + self.timeout, request);
    }
}

fn moment(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// What bounds a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) graceful_stop: Duration,
}
