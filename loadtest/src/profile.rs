//! Load as a function of time: stretches within which the rate holds, moves in a straight line or swings, with jumps
//! between them. The number of requests is the area under that curve, so it is known before the run. Nothing here knows
//! of clocks or of requests' exact moments; [`crate::arrivals`] places those.

mod segment;
mod shorthand;

use std::time::Duration;

pub use self::segment::{Segment, Shape};

/// The highest rate a stage may have: ten times what one machine can send, so anything above is a slip of the pen.
pub const RATE_MAX: f64 = 1_000_000.0;

/// The longest profile. A report keeps something for every second, so a run must end.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most stages. A longer curve is a trace, which is replayed rather than written down.
pub const STAGES_MAX: usize = 1_000;

/// The most stretches of a trace: more than seconds in [`DURATION_MAX`], at 64 bytes each.
pub const STEPS_MAX: usize = 1_000_000;

/// The most requests: their number stays exact in an `f64` with room for fractions to nine digits.
pub const REQUESTS_MAX: f64 = 1e9;

/// Why a profile cannot be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// There is no stage that lasts.
    #[error("the profile has no duration: write a stage such as `50@30s`")]
    Empty,
    /// A word of the shorthand could not be read.
    #[error(
        "stage {number} `{stage}`: {reason}; write `50@30s` to hold 50/s, or `50->300@20s` to ramp"
    )]
    Stage {
        /// Position of the stage, from 1.
        number: usize,
        /// The stage as written.
        stage: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A rate is negative, not a number, or above [`RATE_MAX`].
    #[error("rate {0} is not between 0 and {RATE_MAX} requests per second")]
    Rate(f64),
    /// A wave's amplitude is above its mean.
    #[error("a wave by {amplitude} around {mean} swings below zero")]
    BelowZero {
        /// The mean.
        mean: f64,
        /// The amplitude.
        amplitude: f64,
    },
    /// A wave has no period, or bursts last as long as there is from one to the next.
    #[error("{0}")]
    Period(&'static str),
    /// There are more than [`STAGES_MAX`] stages, or [`STEPS_MAX`] of a trace.
    #[error("{stages} stages are more than {max}")]
    Stages {
        /// How many there are.
        stages: usize,
        /// How many there may be.
        max: usize,
    },
    /// The stages last longer than [`DURATION_MAX`] in all.
    #[error("the profile lasts longer than seven days")]
    Duration,
    /// The area is above [`REQUESTS_MAX`].
    #[error("the profile has more than {REQUESTS_MAX} requests")]
    Requests,
}

/// A stretch of the curve: from the rate before it to `target`, in a straight line over `duration`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// The rate at the end of the stage, in requests per second.
    pub target: f64,
    /// How long the way there takes; zero jumps.
    pub duration: Duration,
}

/// A valid curve: it lasts longer than zero, and its rates, duration and area are within the bounds above.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    segments: Vec<Segment>,
    duration: Duration,
}

/// A stretch before it has its place on the curve.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    shape: Shape,
    duration: Duration,
}

impl Profile {
    /// A curve that begins at `start_rate` requests per second and goes through `stages`.
    pub fn new(start_rate: f64, stages: Vec<Stage>) -> Result<Self, ProfileError> {
        if STAGES_MAX < stages.len() {
            return Err(ProfileError::Stages {
                stages: stages.len(),
                max: STAGES_MAX,
            });
        }
        let mut from = start_rate;
        let stretches = stages.into_iter().map(|stage| {
            let shape = Shape::Line {
                from,
                to: stage.target,
            };
            from = stage.target;
            Stretch {
                shape,
                duration: stage.duration,
            }
        });
        Self::of(stretches)
    }

    /// `rate` requests per second for `duration`.
    pub fn constant(rate: f64, duration: Duration) -> Result<Self, ProfileError> {
        Self::steps([(rate, duration)])
    }

    /// Rates that each hold for a while: a trace.
    pub fn steps(steps: impl IntoIterator<Item = (f64, Duration)>) -> Result<Self, ProfileError> {
        Self::of(steps.into_iter().map(|(rate, duration)| Stretch {
            shape: Shape::Line {
                from: rate,
                to: rate,
            },
            duration,
        }))
    }

    /// A sine that starts at `mean` going up, swings by `amplitude`, and comes back after `period`.
    pub fn sine(
        mean: f64,
        amplitude: f64,
        period: Duration,
        duration: Duration,
    ) -> Result<Self, ProfileError> {
        let shape = Shape::Wave {
            mean,
            amplitude,
            period_s: period.as_secs_f64(),
        };
        Self::of([Stretch { shape, duration }])
    }

    /// Within every `every`: `base` first, then `burst` for `length`. A burst that `duration` cuts off is shorter.
    pub fn bursts(
        base: f64,
        burst: f64,
        every: Duration,
        length: Duration,
        duration: Duration,
    ) -> Result<Self, ProfileError> {
        if every <= length || length.is_zero() {
            return Err(ProfileError::Period(
                "a burst must be longer than zero and shorter than the time from one to the next",
            ));
        }
        let periods = duration.as_secs_f64() / every.as_secs_f64();
        if STAGES_MAX as f64 / 2.0 < periods {
            return Err(ProfileError::Stages {
                stages: (2.0 * periods) as usize,
                max: STAGES_MAX,
            });
        }
        let mut left = duration;
        let both = [(base, every - length), (burst, length)];
        Self::steps(both.into_iter().cycle().map_while(|(rate, wanted)| {
            let taken = wanted.min(left);
            left -= taken;
            (!taken.is_zero()).then_some((rate, taken))
        }))
    }

    /// The same curve `delay` later: nothing is sent before.
    ///
    /// # Errors
    /// [`ProfileError::Duration`] when it would end too late.
    pub fn after(&self, delay: Duration) -> Result<Self, ProfileError> {
        let nothing = Stretch {
            shape: Shape::Line { from: 0.0, to: 0.0 },
            duration: delay,
        };
        let own = self.segments.iter().map(Stretch::from);
        Self::of(std::iter::once(nothing).chain(own))
    }

    /// The same curve `factor` times as fast: every stage shorter, every rate as it was, so fewer requests in all.
    ///
    /// # Errors
    /// As [`Profile::new`]; also [`ProfileError::Duration`] when `factor` is not a number above zero.
    pub fn faster(&self, factor: f64) -> Result<Self, ProfileError> {
        let shorten = |segment: &Segment| {
            let shape = match segment.shape {
                Shape::Wave {
                    mean,
                    amplitude,
                    period_s,
                } => Shape::Wave {
                    mean,
                    amplitude,
                    period_s: period_s / factor,
                },
                line @ Shape::Line { .. } => line,
            };
            Duration::try_from_secs_f64(segment.duration_s() / factor)
                .map(|duration| Stretch { shape, duration })
                .map_err(|_| ProfileError::Duration)
        };
        let stretches: Vec<Stretch> = self
            .segments
            .iter()
            .map(shorten)
            .collect::<Result<_, _>>()?;
        Self::of(stretches)
    }

    /// How long the profile lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The rate at `t` from the start, in requests per second. At a jump it is the rate after it; past the end, zero.
    #[must_use]
    pub fn rate_at(&self, t: Duration) -> f64 {
        let begun = self.segments.partition_point(|segment| segment.start <= t);
        if self.duration <= t || begun == 0 {
            return 0.0;
        }
        let segment = &self.segments[begun - 1];
        segment.rate((t - segment.start).as_secs_f64())
    }

    /// The number of requests: the whole part of the area under the curve.
    #[must_use]
    pub fn total_requests(&self) -> u64 {
        self.segments.last().map_or(0, |last| last.numbers().1)
    }

    /// The stretches that last, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.iter().copied()
    }

    /// Puts stretches one after the other. Those without duration are jumps, of which nothing is left.
    fn of(stretches: impl IntoIterator<Item = Stretch>) -> Result<Self, ProfileError> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut start = Duration::ZERO;
        let mut area_before = 0.0;
        for stretch in stretches {
            stretch.shape.check()?;
            if stretch.duration.is_zero() {
                continue;
            }
            if STEPS_MAX <= segments.len() {
                return Err(ProfileError::Stages {
                    stages: segments.len() + 1,
                    max: STEPS_MAX,
                });
            }
            let segment = Segment {
                start,
                duration: stretch.duration,
                shape: stretch.shape,
                area_before,
            };
            start = start
                .checked_add(stretch.duration)
                .filter(|end| *end <= DURATION_MAX)
                .ok_or(ProfileError::Duration)?;
            area_before = segment.area_after();
            segments.push(segment);
        }
        if segments.is_empty() {
            return Err(ProfileError::Empty);
        }
        if REQUESTS_MAX < area_before {
            return Err(ProfileError::Requests);
        }
        Ok(Self {
            segments,
            duration: start,
        })
    }
}

impl Shape {
    fn check(self) -> Result<(), ProfileError> {
        let rate = |rate: f64| {
            let valid = (0.0..=RATE_MAX).contains(&rate);
            valid.then_some(()).ok_or(ProfileError::Rate(rate))
        };
        match self {
            Self::Line { from, to } => rate(from).and(rate(to)),
            Self::Wave {
                mean,
                amplitude,
                period_s,
            } => {
                rate(mean)
                    .and(rate(amplitude))
                    .and(rate(mean + amplitude))?;
                if mean < amplitude {
                    return Err(ProfileError::BelowZero { mean, amplitude });
                }
                if period_s <= 0.0 {
                    return Err(ProfileError::Period("a wave has no period"));
                }
                Ok(())
            }
        }
    }
}

impl From<&Segment> for Stretch {
    fn from(segment: &Segment) -> Self {
        Self {
            shape: segment.shape,
            duration: segment.duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Profile {
        text.parse().unwrap()
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_shorthand_holds_ramps_and_jumps() {
        let profile = parse("50@30s 50->300@20s, 300@1m 100@10s");
        let rates = [
            (0, 50.0),
            (29, 50.0),
            (40, 175.0),
            (50, 300.0),
            (109, 300.0),
            (110, 100.0),
            (119, 100.0),
            (120, 0.0),
        ];
        for (second, rate) in rates {
            assert_eq!(profile.rate_at(secs(second)), rate, "at {second} s");
        }
        assert_eq!(profile.duration(), secs(120));
        assert_eq!(profile.total_requests(), 1_500 + 3_500 + 18_000 + 1_000);
    }

    #[test]
    fn a_stage_without_duration_jumps() {
        let stage = |target, seconds| Stage {
            target,
            duration: secs(seconds),
        };
        let profile = Profile::new(
            50.0,
            vec![stage(50.0, 10), stage(600.0, 0), stage(600.0, 10)],
        );
        assert_eq!(profile.unwrap(), parse("50@10s 600@10s"));
    }

    #[test]
    fn a_count_that_binary_fractions_fall_short_of_is_whole() {
        assert_eq!(parse("0.1@30s").total_requests(), 3);
        assert_eq!(parse("0.1@10s 0.1@10s 0.1@10s").total_requests(), 3);
    }

    #[test]
    fn a_faster_profile_is_shorter_at_the_same_rates() {
        let profile = parse("10->20@40s").faster(4.0).unwrap();
        assert_eq!(profile, parse("10->20@10s"));
        assert_eq!(
            parse("8~4/8s@40s").faster(4.0).unwrap(),
            parse("8~4/2s@10s")
        );
        assert_eq!(parse("10@1s").faster(0.0), Err(ProfileError::Duration));
        assert_eq!(parse("10@1s").faster(f64::NAN), Err(ProfileError::Duration));
    }

    #[test]
    fn bursts_begin_quietly_and_the_last_one_is_cut_off() {
        let bursts = Profile::bursts(5.0, 80.0, secs(10), secs(4), secs(27)).unwrap();
        assert_eq!(bursts, parse("5@6s 80@4s 5@6s 80@4s 5@6s 80@1s"));
        let error = Profile::bursts(5.0, 80.0, secs(4), secs(4), secs(27)).unwrap_err();
        assert!(error.to_string().contains("shorter than"), "{error}");
        let many = Profile::bursts(5.0, 80.0, secs(2), secs(1), secs(4_000));
        assert!(matches!(many, Err(ProfileError::Stages { .. })), "{many:?}");
    }

    #[test]
    fn a_profile_that_begins_later_sends_nothing_before() {
        assert_eq!(
            parse("10->20@40s").after(secs(5)).unwrap(),
            parse("0@5s 10->20@40s")
        );
        assert_eq!(parse("3@1s").after(Duration::ZERO).unwrap(), parse("3@1s"));
    }
}
