//! Load as a function of time: stages between which the rate holds, jumps or moves in a straight line. The number of
//! requests is the area under that curve, so it is known before the run. Nothing here knows of clocks or of requests'
//! exact moments; [`crate::arrivals`] places those.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The highest rate a stage may have: ten times what one machine can send, so anything above is a slip of the pen.
pub const RATE_MAX: f64 = 1_000_000.0;

/// The longest profile. A report keeps something for every second, so a run must end.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most stages. A longer curve is a trace, which is replayed rather than written down.
pub const STAGES_MAX: usize = 1_000;

/// The most requests: their number stays exact in an `f64` with room for fractions to nine digits.
pub const REQUESTS_MAX: f64 = 1e9;

/// Two areas closer than this are the same: `0.1 * 30` must count three requests, although it is less in binary.
const AREA_EPSILON: f64 = 1e-6;

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
    /// There are more than [`STAGES_MAX`] stages.
    #[error("{0} stages are more than {STAGES_MAX}")]
    Stages(usize),
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
    start_rate: f64,
    stages: Vec<Stage>,
}

/// One stage that lasts, with everything that placing its requests takes. Times and areas are from the profile's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Segment {
    /// When it begins, in seconds.
    pub start_s: f64,
    /// How long it lasts, in seconds; above zero.
    pub duration_s: f64,
    /// The rate at its beginning, per second.
    pub from: f64,
    /// The rate at its end, per second.
    pub to: f64,
    /// Requests before it: the area up to its beginning.
    pub area_before: f64,
}

impl Profile {
    /// A curve that begins at `start_rate` requests per second and goes through `stages`.
    pub fn new(start_rate: f64, stages: Vec<Stage>) -> Result<Self, ProfileError> {
        if STAGES_MAX < stages.len() {
            return Err(ProfileError::Stages(stages.len()));
        }
        let rates = std::iter::once(start_rate).chain(stages.iter().map(|stage| stage.target));
        for rate in rates {
            if !(0.0..=RATE_MAX).contains(&rate) {
                return Err(ProfileError::Rate(rate));
            }
        }
        let duration = stages
            .iter()
            .try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.duration));
        match duration {
            Some(Duration::ZERO) => return Err(ProfileError::Empty),
            Some(duration) if duration <= DURATION_MAX => {}
            _ => return Err(ProfileError::Duration),
        }
        let profile = Self { start_rate, stages };
        if REQUESTS_MAX < profile.area() {
            return Err(ProfileError::Requests);
        }
        Ok(profile)
    }

    /// `rate` requests per second for `duration`.
    pub fn constant(rate: f64, duration: Duration) -> Result<Self, ProfileError> {
        Self::new(
            rate,
            vec![Stage {
                target: rate,
                duration,
            }],
        )
    }

    /// How long the profile lasts.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.stages.iter().map(|stage| stage.duration).sum()
    }

    /// The rate at `t` from the start, in requests per second. At a jump it is the rate after it; past the end, zero.
    #[must_use]
    pub fn rate_at(&self, t: Duration) -> f64 {
        let mut rate = self.start_rate;
        let mut left = t;
        for stage in &self.stages {
            if left < stage.duration {
                let share = left.as_secs_f64() / stage.duration.as_secs_f64();
                return rate + (stage.target - rate) * share;
            }
            left -= stage.duration;
            rate = stage.target;
        }
        0.0
    }

    /// The number of requests: the whole part of the area under the curve.
    #[must_use]
    pub fn total_requests(&self) -> u64 {
        whole(self.area())
    }

    /// The same curve `factor` times as fast: every stage shorter, every rate as it was, so fewer requests in all.
    ///
    /// # Errors
    /// As [`Profile::new`]; also [`ProfileError::Duration`] when `factor` is not a number above zero.
    pub fn faster(&self, factor: f64) -> Result<Self, ProfileError> {
        let shorten = |stage: &Stage| {
            let duration = Duration::try_from_secs_f64(stage.duration.as_secs_f64() / factor);
            duration
                .map(|duration| Stage { duration, ..*stage })
                .map_err(|_| ProfileError::Duration)
        };
        Self::new(
            self.start_rate,
            self.stages.iter().map(shorten).collect::<Result<_, _>>()?,
        )
    }

    /// The stages that last, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        let mut next = Segment {
            start_s: 0.0,
            duration_s: 0.0,
            from: 0.0,
            to: self.start_rate,
            area_before: 0.0,
        };
        let all = self.stages.iter().map(move |stage| {
            next = Segment {
                start_s: next.start_s + next.duration_s,
                duration_s: stage.duration.as_secs_f64(),
                from: next.to,
                to: stage.target,
                area_before: next.area_before + next.area(),
            };
            next
        });
        all.filter(|segment| 0.0 < segment.duration_s)
    }

    fn area(&self) -> f64 {
        self.segments().map(|segment| segment.area()).sum()
    }
}

impl Segment {
    /// Requests within it, with fractions: the mean of its two rates over its duration.
    #[must_use]
    pub fn area(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.duration_s
    }

    /// Requests whose number the curve reaches within it: the numbers `first..=last`, counted from 1 over the profile.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64) {
        (
            whole(self.area_before) + 1,
            whole(self.area_before + self.area()),
        )
    }

    /// When the area counted from the segment's beginning reaches `area`, in seconds from that beginning.
    ///
    /// Solves `from * t + slope / 2 * t^2 = area`. The root is written with the sum in the denominator, which loses no
    /// digits when the slope is small, and holds for a slope of zero and for a beginning at zero alike.
    #[must_use]
    pub fn time_of(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.duration_s;
        let rate_there = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        let sum = self.from + rate_there;
        if sum <= 0.0 {
            return self.duration_s;
        }
        (2.0 * area / sum).min(self.duration_s)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    /// Reads stages separated by blanks or commas:
    ///
    /// - `50@30s` holds 50 requests per second for 30 s (jumping there first);
    /// - `50->300@20s` moves from 50 to 300 within 20 s (jumping to 50 first);
    /// - `->300@20s` moves to 300 from wherever the rate is, which is zero at the start.
    ///
    /// Durations are as humans write them: `90s`, `2m`, `1h30m`, `500ms`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        let mut start_rate = None;
        let mut stages: Vec<Stage> = Vec::new();
        for (index, word) in words.enumerate() {
            let (from, stage) = read_stage(word).map_err(|reason| ProfileError::Stage {
                number: index + 1,
                stage: word.to_owned(),
                reason,
            })?;
            let rate = stages.last().map(|stage| stage.target).or(start_rate);
            match (rate, from) {
                (None, from) => start_rate = Some(from.unwrap_or(0.0)),
                (Some(rate), Some(from)) if rate != from => {
                    stages.push(Stage {
                        target: from,
                        duration: Duration::ZERO,
                    });
                }
                _ => {}
            }
            stages.push(stage);
        }
        Self::new(start_rate.unwrap_or(0.0), stages)
    }
}

impl fmt::Display for Profile {
    /// The shorthand, which reads back as an equal curve.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            let duration = Duration::from_secs_f64(segment.duration_s);
            let duration = humantime::format_duration(duration)
                .to_string()
                .replace(' ', "");
            if segment.from == segment.to {
                write!(f, "{blank}{}@{duration}", segment.to)?;
            } else {
                write!(f, "{blank}{}->{}@{duration}", segment.from, segment.to)?;
            }
        }
        Ok(())
    }
}

/// A word of the shorthand: the rate it begins at, when it says one, and the stage.
fn read_stage(word: &str) -> Result<(Option<f64>, Stage), String> {
    let Some((rates, duration)) = word.split_once('@') else {
        return Err("there is no `@`".to_owned());
    };
    let duration = humantime::parse_duration(duration)
        .map_err(|error| format!("duration `{duration}`: {error}"))?;
    let (from, target) = match rates.split_once("->") {
        None => (Some(read_rate(rates)?), read_rate(rates)?),
        Some(("", to)) => (None, read_rate(to)?),
        Some((from, to)) => (Some(read_rate(from)?), read_rate(to)?),
    };
    Ok((from, Stage { target, duration }))
}

fn read_rate(text: &str) -> Result<f64, String> {
    let rate = text.strip_suffix("/s").unwrap_or(text);
    match rate.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        Ok(rate) => Err(format!("rate {rate} is not between 0 and {RATE_MAX}")),
        Err(_) => Err(format!("rate `{text}` is not a number")),
    }
}

/// The whole requests of an area, which [`Profile::new`] holds between zero and [`REQUESTS_MAX`].
fn whole(area: f64) -> u64 {
    (area + AREA_EPSILON).floor() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Profile {
        text.parse().unwrap()
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
            assert_eq!(
                profile.rate_at(Duration::from_secs(second)),
                rate,
                "at {second} s"
            );
        }
        assert_eq!(profile.duration(), Duration::from_secs(120));
        assert_eq!(profile.total_requests(), 1_500 + 3_500 + 18_000 + 1_000);
    }

    #[test]
    fn a_ramp_without_a_beginning_starts_where_the_rate_is() {
        assert_eq!(parse("->100@10s").total_requests(), 500);
        assert_eq!(parse("100@10s ->0@10s"), parse("100@10s 100->0@10s"));
    }

    #[test]
    fn a_shorthand_that_cannot_be_read_says_where_and_why() {
        let cases = [
            ("", "no duration"),
            ("50@0s", "no duration"),
            ("50@30s 60", "stage 2 `60`: there is no `@`"),
            ("50@soon", "duration `soon`"),
            ("fast@30s", "rate `fast` is not a number"),
            ("-5@30s", "rate -5 is not between"),
            ("NaN@30s", "rate NaN is not between"),
            ("50->@30s", "rate `` is not a number"),
            ("1@8d", "longer than seven days"),
            ("1000000@1h", "requests"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Profile>().unwrap_err().to_string();
            assert!(error.contains(expected), "`{text}`: {error}");
        }
    }

    #[test]
    fn a_profile_reads_back_as_it_prints() {
        for text in ["50@30s 50->300@20s", "0->10@1m30s 5@1s", "0.5@100ms"] {
            assert_eq!(parse(text).to_string(), text);
            assert_eq!(parse(&parse(text).to_string()), parse(text));
        }
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
        assert_eq!(parse("10@1s").faster(0.0), Err(ProfileError::Duration));
        assert_eq!(parse("10@1s").faster(f64::NAN), Err(ProfileError::Duration));
    }
}
