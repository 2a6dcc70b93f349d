//! Who holds the Lease, as one contender sees it: from what it read and its own monotonic clock, nothing else.
//!
//! A contender waits until it has itself seen the same record for a whole lease, whatever times stand in it; the holder
//! stops acting before that can have happened, counted from before its last renewal was sent. So two never act at once
//! as long as their clocks run at about the same rate, however far apart they are set.

use std::sync::Arc;
use std::time::Duration;

/// How long a record has to stand unchanged before another contender takes over. As Kubernetes' own controllers.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How often the holder renews, and the others look: two renewals may fail.
const RENEW: Duration = Duration::from_secs(5);

/// How soon a step is tried again that failed or was lost to another.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// How long before the end the holder stops acting, for a write of status that is under way then, and for clocks that
/// run at different rates. A request's deadline is as long.
const MARGIN: Duration = Duration::from_secs(5);

/// The longest that another's record is respected. Only a mistake is longer.
const LASTS_MAX: Duration = Duration::from_mins(5);

/// What stands in the Lease.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Record {
    /// Nobody, when it was never taken or was given back.
    pub(super) holder: Option<Arc<str>>,
    /// When the holder says it renewed, in microseconds of its clock: compared with itself only.
    pub(super) renewed: Option<i64>,
    /// How long the holder says it holds.
    pub(super) lasts: Option<Duration>,
    /// How often the holder changed.
    pub(super) transitions: i32,
}

/// What to do now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Move {
    /// Nothing, for so long.
    Wait(Duration),
    /// Write this, if nobody else has written since.
    Write(Record),
}

/// One contender. Its times are since its own start.
#[derive(Debug)]
pub(super) struct Election {
    identity: Arc<str>,
    /// The record that was read last, and when it was first read.
    seen: Option<(Record, Duration)>,
    holds_until: Option<Duration>,
}

// === impl Election ===

impl Election {
    pub(super) fn new(identity: Arc<str>) -> Self {
        Self {
            identity,
            seen: None,
            holds_until: None,
        }
    }

    /// Decides on the record that was just read.
    pub(super) fn step(&mut self, now: Duration, found: &Record) -> Move {
        match found.holder.as_ref() {
            Some(holder) if *holder == self.identity => return Move::Write(found.clone()),
            Some(_) => {}
            None => return self.take(found),
        }
        self.holds_until = None;
        let since = match &self.seen {
            Some((seen, since)) if seen == found => *since,
            _ => {
                self.seen = Some((found.clone(), now));
                now
            }
        };
        // A holder that renews less often than we do, such as another version of the adapter, is given its time.
        let lasts = found.lasts.unwrap_or(LEASE).clamp(LEASE, LASTS_MAX);
        let ends = since + lasts;
        match ends <= now {
            true => self.take(found),
            false => Move::Wait(RENEW.min(ends - now)),
        }
    }

    /// The record was written by a request that began at `sent_at`.
    pub(super) fn written(&mut self, sent_at: Duration, record: Record) {
        self.holds_until = Some(sent_at + LEASE - MARGIN);
        self.seen = Some((record, sent_at));
    }

    /// Somebody else wrote first. Whatever is held is held until its end, and the next step reads who it was.
    pub(super) fn lost(&mut self) {
        self.seen = None;
    }

    /// The end of this contender's hold. It may have passed.
    pub(super) fn holds_until(&self) -> Option<Duration> {
        self.holds_until
    }

    pub(super) fn holds(&self, now: Duration) -> bool {
        self.holds_until.is_some_and(|until| now < until)
    }

    /// When to look again after a write.
    pub(super) fn next_step(&self) -> Duration {
        match &self.seen {
            Some(_) => RENEW,
            None => RETRY,
        }
    }

    /// The record that gives the Lease back, if it is still this contender's.
    pub(super) fn release(&mut self, found: &Record) -> Option<Record> {
        self.holds_until = None;
        let is_ours = found.holder.as_ref() == Some(&self.identity);
        is_ours.then(|| Record {
            holder: None,
            ..found.clone()
        })
    }

    fn take(&self, found: &Record) -> Move {
        Move::Write(Record {
            holder: Some(Arc::clone(&self.identity)),
            transitions: found.transitions.saturating_add(1),
            ..found.clone()
        })
    }
}

#[cfg(test)]
mod tests;
