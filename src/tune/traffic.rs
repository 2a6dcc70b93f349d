//! What is asked of a service, second by second, and the parts of it that are worth playing when the whole is too long
//! to play again and again.

use std::fmt::Write;
use std::time::Duration;

use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::arrivals::trace::{Trace, TraceError};
use taffrail_loadtest::profile::{Profile, ProfileError};

/// Seconds over which the rate at the beginning is taken, with which a play is warmed up.
const BEGINNING_S: usize = 30;

/// The longest time that is played for one candidate and seed, in seconds.
const PLAYED_S_MAX: usize = 4 * 3600;

/// Lengths of a part that are tried, in seconds: the first that keeps all parts within the requests of a play.
const PART_S: [usize; 5] = [3600, 2400, 1800, 1200, 600];

/// By how much the beginnings of two parts must be apart, as a share of their length, for both to be worth playing.
const APART: f64 = 0.5;

/// How finely the beginning of a part is placed, in seconds.
const STEP_S: usize = 15;

/// Requests per second, for each second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    rates: Vec<f64>,
}

/// A stretch of the traffic that is played by itself.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Part {
    /// Why it is played.
    pub(super) name: &'static str,
    /// Where it begins and ends, in seconds.
    pub(super) from_s: usize,
    /// See [`Part::from_s`].
    pub(super) to_s: usize,
}

impl Traffic {
    /// A trace's, with every rate times `scale`.
    pub(super) fn of_trace(trace: &Trace, scale: f64) -> Result<Self, TraceError> {
        let profile = trace.profile(1.0, scale)?;
        Ok(Self::of(&[|at| profile.rate_at(at)], profile.duration()))
    }

    /// Of rates that hold from a moment on, in seconds, until `end_s`.
    pub(super) fn of_steps(
        steps: &[(f64, f64)],
        end_s: f64,
        scale: f64,
    ) -> Result<Self, ProfileError> {
        let ends = steps.iter().skip(1).map(|(t_s, _)| *t_s).chain([end_s]);
        let steps = steps.iter().zip(ends).map(|((t_s, rate), end_s)| {
            let length = Duration::try_from_secs_f64(end_s - t_s).unwrap_or_default();
            (rate * scale, length)
        });
        let profile = Profile::steps(steps.filter(|(_, length)| !length.is_zero()))?;
        Ok(Self::of(&[|at| profile.rate_at(at)], profile.duration()))
    }

    /// All the loads on one service; `None` where one waits for answers, so that nobody knows its rate before.
    pub(super) fn of_loads(loads: &[&LoadPlan], scale: f64) -> Option<Self> {
        let end = loads.iter().map(|load| load.end()).max()?;
        loads.iter().try_for_each(|load| load.planned().map(drop))?;
        let rates: Vec<_> = loads
            .iter()
            .map(|load| |at| load.rate_at(at).unwrap_or(0.0) * scale)
            .collect();
        Some(Self::of(&rates, end))
    }

    fn of(rates: &[impl Fn(Duration) -> f64], end: Duration) -> Self {
        let seconds = 0..end.as_secs_f64().ceil() as u64;
        let middle = |second: u64| Duration::from_millis(1000 * second + 500);
        let rate = |second: u64| rates.iter().map(|rate| rate(middle(second))).sum();
        Self {
            rates: seconds.map(rate).collect(),
        }
    }

    pub(super) fn seconds(&self) -> usize {
        self.rates.len()
    }

    pub(super) fn requests(&self) -> f64 {
        self.rates.iter().sum()
    }

    pub(super) fn mean(&self) -> f64 {
        self.requests() / self.rates.len().max(1) as f64
    }

    /// The highest rate that holds for half a minute: what pods are needed for.
    pub(super) fn peak(&self) -> f64 {
        let windows = self.rates.windows(BEGINNING_S.min(self.rates.len()).max(1));
        windows.map(mean).fold(0.0, f64::max)
    }

    /// By what share it grows within so many seconds, at most, of its mean over half a minute: less is chance.
    pub(super) fn growth(&self, seconds: usize) -> f64 {
        let sums = self.sums();
        let width = BEGINNING_S.min(self.rates.len()).max(1);
        let mean = |from: usize| (sums[from + width] - sums[from]) / width as f64;
        let last = (self.rates.len() + 1).saturating_sub(width + seconds);
        // A service that is as good as idle grows by any factor, which needs no pod.
        let floor = self.mean() / 10.0;
        let growth = (0..last).map(|from| mean(from + seconds) / mean(from).max(floor) - 1.0);
        growth
            .filter(|growth| growth.is_finite())
            .fold(0.0, f64::max)
    }

    /// The rate with which it begins.
    pub(super) fn first(&self) -> f64 {
        mean(&self.rates[..BEGINNING_S.min(self.rates.len())])
    }

    pub(super) fn part(&self, part: &Part) -> Self {
        Self {
            rates: self.rates[part.from_s..part.to_s.min(self.rates.len())].to_vec(),
        }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Part {
        Part {
            name: "all of it",
            from_s: 0,
            to_s: self.rates.len(),
        }
    }

    /// What is played for a candidate: all of it, or where it rises most, is highest, falls most and is lowest, so that
    /// no more than `requests_max` requests are played.
    pub(super) fn parts(&self, requests_max: f64) -> Vec<Part> {
        if self.rates.len() <= PLAYED_S_MAX && self.requests() <= requests_max {
            return vec![self.whole()];
        }
        let mut parts = Vec::new();
        for length in PART_S
            .into_iter()
            .filter(|length| *length < self.rates.len())
        {
            parts = self.parts_of(length);
            let requests: f64 = parts.iter().map(|part| self.part(part).requests()).sum();
            if requests <= requests_max {
                break;
            }
        }
        if parts.is_empty() {
            vec![self.whole()]
        } else {
            parts
        }
    }

    fn parts_of(&self, length: usize) -> Vec<Part> {
        let sums = self.sums();
        let mean = |from: usize, to: usize| (sums[to] - sums[from]) / (to - from).max(1) as f64;
        let rise =
            |from: usize| mean(from + length / 2, from + length) - mean(from, from + length / 2);
        let height = |from: usize| mean(from, from + length);
        let scores: [(&str, &dyn Fn(usize) -> f64); 4] = [
            ("the steepest rise", &rise),
            ("the peak", &height),
            ("the steepest fall", &|from| -rise(from)),
            ("the calmest part", &|from| -height(from)),
        ];
        let mut parts: Vec<Part> = Vec::new();
        for (name, score) in scores {
            let froms = (0..=self.rates.len() - length).step_by(STEP_S);
            let best = froms.max_by(|a, b| score(*a).total_cmp(&score(*b)).then(b.cmp(a)));
            let from_s = best.unwrap_or(0);
            let is_near =
                |part: &Part| part.from_s.abs_diff(from_s) as f64 <= APART * length as f64;
            if !parts.iter().any(is_near) {
                let to_s = from_s + length;
                parts.push(Part { name, from_s, to_s });
            }
        }
        parts.sort_by_key(|part| part.from_s);
        parts
    }

    /// The requests before each second.
    fn sums(&self) -> Vec<f64> {
        let mut sum = 0.0;
        let mut sums = vec![0.0];
        sums.extend(self.rates.iter().map(|rate| {
            sum += rate;
            sum
        }));
        sums
    }

    /// As a trace: a line for each change.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("t_seconds,rps\n");
        let mut before = None;
        for (second, rate) in self.rates.iter().enumerate() {
            // A trace's last line holds as long as the one before it, so the last second has a line of its own.
            if before != Some(rate) || second + 2 >= self.rates.len() {
                let _ = writeln!(text, "{second},{rate}");
            }
            before = Some(rate);
        }
        text
    }
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Traffic {
        let rate = |second: usize| match second / 3600 {
            0..8 => 1.0,
            8..18 => 1.0 + 20.0 * ((second - 8 * 3600) as f64 / 3600.0).min(1.0),
            _ => 2.0,
        };
        Traffic {
            rates: (0..86_400).map(rate).collect(),
        }
    }

    #[test]
    fn a_short_traffic_is_played_whole_and_a_long_one_where_it_matters() {
        let short = Traffic {
            rates: vec![5.0; 600],
        };
        assert_eq!(short.parts(1e6), [short.whole()]);
        let parts = day().parts(200_000.0);
        let found: Vec<_> = parts
            .iter()
            .map(|part| (part.name, part.from_s / 3600))
            .collect();
        let expected = [
            ("the calmest part", 0),
            ("the steepest rise", 8),
            ("the peak", 9),
            ("the steepest fall", 17),
        ];
        assert_eq!(found, expected);
        let requests: f64 = parts.iter().map(|part| day().part(part).requests()).sum();
        assert!(requests <= 200_000.0, "{requests}");
    }

    #[test]
    fn a_trace_is_written_as_it_was_read() {
        let text = "t_seconds,rps\n0,10\n5,20\n7,20\n8,1\n";
        let of = |text: &str, scale| Traffic::of_trace(&Trace::read(text).unwrap(), scale).unwrap();
        let traffic = of(text, 2.0);
        assert_eq!(traffic.seconds(), 9);
        assert_eq!((traffic.first(), traffic.rates[8]), (traffic.mean(), 2.0));
        let again = of(&traffic.text(), 1.0);
        assert_eq!(again, traffic);
        let steps = Traffic::of_steps(&[(0.0, 10.0), (5.0, 20.0), (8.0, 1.0)], 9.0, 2.0);
        assert_eq!(steps, Ok(traffic));
    }
}
