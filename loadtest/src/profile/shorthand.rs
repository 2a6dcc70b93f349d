//! A curve in a line of text: `50@30s 50->300@20s 300@1m`. Reads and prints it, and knows nothing of files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Profile, ProfileError, RATE_MAX, Shape, Stretch};

impl FromStr for Profile {
    type Err = ProfileError;

    /// Reads stages separated by blanks or commas:
    ///
    /// - `50@30s` holds 50 requests per second for 30 s (jumping there first);
    /// - `50->300@20s` moves from 50 to 300 within 20 s (jumping to 50 first);
    /// - `->300@20s` moves to 300 from wherever the rate is, which is zero at the start;
    /// - `300~100/5m@1h` swings by 100 around 300, up and down within five minutes, for an hour.
    ///
    /// Durations are as humans write them: `90s`, `2m`, `1h30m`, `500ms`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        let mut rate = 0.0;
        let mut stretches = Vec::new();
        for (index, word) in words.enumerate() {
            let (shape, duration) =
                read_stage(word, rate).map_err(|reason| ProfileError::Stage {
                    number: index + 1,
                    stage: word.to_owned(),
                    reason,
                })?;
            rate = match shape {
                Shape::Line { to, .. } => to,
                Shape::Wave { mean, .. } => mean,
            };
            stretches.push(Stretch { shape, duration });
        }
        Self::of(stretches)
    }
}

impl fmt::Display for Profile {
    /// The shorthand, which reads back as an equal curve.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            let duration = spelled(segment.duration);
            match segment.shape {
                Shape::Line { from, to } if from == to => write!(f, "{blank}{to}@{duration}")?,
                Shape::Line { from, to } => write!(f, "{blank}{from}->{to}@{duration}")?,
                Shape::Wave {
                    mean,
                    amplitude,
                    period_s,
                } => {
                    let period = spelled(Duration::from_secs_f64(period_s));
                    write!(f, "{blank}{mean}~{amplitude}/{period}@{duration}")?;
                }
            }
        }
        Ok(())
    }
}

fn spelled(duration: Duration) -> String {
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

/// A word of the shorthand after which the rate was `before`.
fn read_stage(word: &str, before: f64) -> Result<(Shape, Duration), String> {
    let Some((rates, duration)) = word.rsplit_once('@') else {
        return Err("there is no `@`".to_owned());
    };
    let duration = read_duration(duration)?;
    if let Some((mean, wave)) = rates.split_once('~') {
        let (amplitude, period) = wave
            .split_once('/')
            .ok_or("a swing needs its period, as in `300~100/5m@1h`")?;
        let shape = Shape::Wave {
            mean: read_rate(mean)?,
            amplitude: read_rate(amplitude)?,
            period_s: read_duration(period)?.as_secs_f64(),
        };
        return Ok((shape, duration));
    }
    let (from, to) = match rates.split_once("->") {
        None => (read_rate(rates)?, read_rate(rates)?),
        Some(("", to)) => (before, read_rate(to)?),
        Some((from, to)) => (read_rate(from)?, read_rate(to)?),
    };
    Ok((Shape::Line { from, to }, duration))
}

fn read_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("duration `{text}`: {error}"))
}

fn read_rate(text: &str) -> Result<f64, String> {
    let rate = text.strip_suffix("/s").unwrap_or(text);
    match rate.parse::<f64>() {
        Ok(rate) if (0.0..=RATE_MAX).contains(&rate) => Ok(rate),
        Ok(rate) => Err(format!("rate {rate} is not between 0 and {RATE_MAX}")),
        Err(_) => Err(format!("rate `{text}` is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Profile {
        text.parse().unwrap()
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
            ("50~10@30s", "needs its period"),
            ("50~60/1s@30s", "swings below zero"),
            ("50~10/0s@30s", "no period"),
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
        for text in [
            "50@30s 50->300@20s",
            "0->10@1m30s 5@1s",
            "0.5@100ms",
            "300~100/5m@1h 20@1s",
        ] {
            assert_eq!(parse(text).to_string(), text);
            assert_eq!(parse(&parse(text).to_string()), parse(text));
        }
    }
}
