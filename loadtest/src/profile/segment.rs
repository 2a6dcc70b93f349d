//! One stretch of a curve, with everything that placing its requests takes: the rate at a moment, the area up to a
//! moment, and the moment at which an area is reached. All three are closed forms, apart from the last of a sine,
//! which is solved to below a nanosecond.

use std::f64::consts::TAU;
use std::time::Duration;

/// Two areas closer than this are the same: `0.1 * 30` must count three requests, although it is less in binary.
const AREA_EPSILON: f64 = 1e-6;

/// A root closer than this to the former step is found: a tenth of the nanosecond in which moments are told.
const ROOT_S: f64 = 1e-10;

/// Newton's steps need five or six of these; halving alone, where the rate is next to zero, needs 50 from a week down
/// to [`ROOT_S`].
const ROOT_STEPS_MAX: usize = 64;

/// A stretch that lasts. Times and areas are from the profile's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// When it begins.
    pub start: Duration,
    /// How long it lasts; above zero.
    pub duration: Duration,
    /// How the rate moves within it.
    pub shape: Shape,
    /// Requests before it: the area up to its beginning.
    pub area_before: f64,
}

/// How the rate moves, in requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// In a straight line.
    Line {
        /// The rate at the beginning.
        from: f64,
        /// The rate at the end.
        to: f64,
    },
    /// Up from the mean, down below it and back, within each period.
    Wave {
        /// The mean.
        mean: f64,
        /// How far above and below it; at most the mean.
        amplitude: f64,
        /// From crest to crest, in seconds; above zero.
        period_s: f64,
    },
}

impl Segment {
    /// How long it lasts, in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.duration.as_secs_f64()
    }

    /// The rate `t` seconds after the segment's beginning.
    #[must_use]
    pub fn rate(&self, t: f64) -> f64 {
        match self.shape {
            Shape::Line { from, to } => from + (to - from) * (t / self.duration_s()),
            Shape::Wave {
                mean,
                amplitude,
                period_s,
            } => mean + amplitude * (TAU * t / period_s).sin(),
        }
    }

    /// Requests within it, with fractions.
    #[must_use]
    pub fn area(&self) -> f64 {
        match self.shape {
            // The mean of its two rates over its duration.
            Shape::Line { from, to } => (from + to) / 2.0 * self.duration_s(),
            Shape::Wave { .. } => self.area_until(self.duration_s()),
        }
    }

    /// Requests up to its end, with fractions.
    #[must_use]
    pub fn area_after(&self) -> f64 {
        self.area_before + self.area()
    }

    /// Requests whose number the curve reaches within it: the numbers `first..=last`, counted from 1 over the profile.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        (whole(self.area_before) + 1, whole(self.area_after()))
    }

    /// The lowest and the highest rate from `from_s` to `to_s` after the segment's beginning.
    pub(crate) fn rates_within(&self, from_s: f64, to_s: f64) -> (f64, f64) {
        let ends = [from_s, to_s].map(|t| self.rate(t));
        let (lowest, highest) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let Shape::Wave {
            mean,
            amplitude,
            period_s,
        } = self.shape
        else {
            return (lowest, highest);
        };
        // Whether a moment lies within that is so far into a period.
        let holds = |share: f64| {
            let nth = (from_s / period_s - share).ceil();
            (nth + share) * period_s <= to_s
        };
        (
            if holds(0.75) {
                mean - amplitude
            } else {
                lowest
            },
            if holds(0.25) {
                mean + amplitude
            } else {
                highest
            },
        )
    }

    /// When the area counted from the segment's beginning reaches `area`, in seconds from that beginning.
    #[must_use]
    pub fn time_of(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        let reached = match self.shape {
            Shape::Line { from, to } => line_reaches(from, (to - from) / self.duration_s(), area),
            Shape::Wave {
                mean,
                amplitude,
                period_s,
            } => self.wave_reaches(area, mean, amplitude * period_s),
        };
        reached.map_or(self.duration_s(), |t| t.min(self.duration_s()))
    }

    /// The integral of [`Self::rate`] from the segment's beginning.
    fn area_until(&self, t: f64) -> f64 {
        match self.shape {
            Shape::Line { from, .. } => (from + self.rate(t)) / 2.0 * t,
            Shape::Wave {
                mean,
                amplitude,
                period_s,
            } => mean * t + amplitude * period_s / TAU * (1.0 - (TAU * t / period_s).cos()),
        }
    }

    /// Newton's method, held within the bracket that the wave's height gives: the area is at least `mean * t`, and
    /// exceeds it by `swing / pi` at most, `swing` being amplitude times period.
    fn wave_reaches(&self, area: f64, mean: f64, swing: f64) -> Option<f64> {
        if mean <= 0.0 {
            return None;
        }
        let mut low = ((area - 2.0 * swing / TAU) / mean).max(0.0);
        let mut high = area / mean;
        let mut t = f64::midpoint(low, high);
        for _ in 0..ROOT_STEPS_MAX {
            let over = self.area_until(t) - area;
            if over < 0.0 {
                low = t;
            } else {
                high = t;
            }
            let newton = t - over / self.rate(t);
            let next = if low <= newton && newton <= high {
                newton
            } else {
                f64::midpoint(low, high)
            };
            if (next - t).abs() < ROOT_S {
                return Some(next);
            }
            t = next;
        }
        Some(t)
    }
}

/// The whole requests of an area, which a valid profile holds between zero and its bound.
pub(super) fn whole(area: f64) -> u64 {
    (area + AREA_EPSILON).floor() as u64
}

/// Solves `from * t + slope / 2 * t^2 = area`. The root is written with the sum in the denominator, which loses no
/// digits when the slope is small, and holds for a slope of zero and for a beginning at zero alike.
fn line_reaches(from: f64, slope: f64, area: f64) -> Option<f64> {
    let rate_there = (from * from + 2.0 * slope * area).max(0.0).sqrt();
    let sum = from + rate_there;
    (0.0 < sum).then(|| 2.0 * area / sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wave(mean: f64, amplitude: f64, period_s: f64, seconds: u64) -> Segment {
        Segment {
            start: Duration::ZERO,
            duration: Duration::from_secs(seconds),
            shape: Shape::Wave {
                mean,
                amplitude,
                period_s,
            },
            area_before: 0.0,
        }
    }

    #[test]
    fn a_whole_period_of_a_wave_has_the_area_of_its_mean() {
        assert!((wave(100.0, 60.0, 30.0, 90).area() - 9_000.0).abs() < 1e-6);
        // The first half holds 2 * amplitude / (2 pi) * period more than the second.
        let half = wave(100.0, 60.0, 30.0, 15).area();
        assert!((half - (1_500.0 + 60.0 * 30.0 / TAU * 2.0)).abs() < 1e-9);
    }

    #[test]
    fn a_wave_has_its_crest_and_its_trough_where_they_are_within() {
        let wave = wave(100.0, 60.0, 40.0, 200);
        let round = |(lowest, highest): (f64, f64)| (lowest.round(), highest.round());
        for (from_s, to_s, rates) in [
            (0.0, 10.0, (100.0, 160.0)),
            (9.0, 11.0, (159.0, 160.0)),
            (15.0, 25.0, (58.0, 142.0)),
            (25.0, 35.0, (40.0, 58.0)),
            (0.0, 40.0, (40.0, 160.0)),
            (71.0, 89.0, (41.0, 159.0)),
            (89.0, 91.0, (159.0, 160.0)),
            (100.0, 140.0, (40.0, 160.0)),
        ] {
            assert_eq!(
                round(wave.rates_within(from_s, to_s)),
                rates,
                "{from_s} to {to_s}"
            );
        }
    }

    #[test]
    fn a_wave_that_touches_zero_is_still_inverted() {
        let wave = wave(10.0, 10.0, 4.0, 40);
        for number in 1..=400 {
            let t = wave.time_of(f64::from(number));
            assert!((wave.area_until(t) - f64::from(number)).abs() < 1e-8);
        }
    }

    proptest! {
        #[test]
        fn the_moment_of_an_area_is_known_to_a_nanosecond(
            mean in 1.0..5_000.0,
            share in 0.0..0.95,
            period in 0.5..4_000.0,
            at in 0.0..1.0,
        ) {
            let wave = wave(mean, mean * share, period, 3_600);
            let t = at * 3_600.0;
            let found = wave.time_of(wave.area_until(t));
            prop_assert!((found - t).abs() < 1e-9, "{} not {}", found, t);
        }
    }
}
