//! A recorded load, as a text with a line per interval: when, and how many requests per second from then on. Or one
//! column: rates of a second each under the header `rps` or `rate`, and the moments of requests otherwise. Tables are
//! read as Prometheus and Grafana export them. It knows nothing of files, and it places no requests.

use std::time::Duration;

use crate::profile::{Profile, ProfileError, STEPS_MAX};

/// Moments of requests are counted in intervals this long, and placed within one as the load says: finer than any
/// window over which something is measured.
const MOMENTS_PER_SECOND: f64 = 10.0;

/// The most moments: an hour of 2,000 requests per second, in 64 MiB.
const MOMENTS_MAX: usize = 8_000_000;

/// Times above this are not seconds but milliseconds since 1970.
const MS_SINCE: f64 = 1e11;

/// How many times as long as usual a rate holds where lines are missing.
const GAP_TIMES: u32 = 10;

/// The headers of a lone column that holds rates.
const RATE_HEADERS: [&str; 4] = ["rps", "rate", "rate_rps", "requests_per_second"];

/// A recorded load: rates that each hold for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    steps: Vec<(f64, Duration)>,
}

/// Why a trace cannot be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// A line is wrong.
    #[error("line {line}: {message}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it, and what to write.
        message: String,
    },
    /// There is too little of it.
    #[error(
        "a trace needs two lines at least, such as `0,50` and `60,300` for seconds and requests per second"
    )]
    Short,
    /// It makes no curve.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

impl Trace {
    /// Reads a trace. Empty lines, comments after `#`, and a header are passed over, and so are lines whose rate is not
    /// known, which is empty or `NaN`: the rate before holds on.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut header = "";
        let mut rows: Vec<(usize, f64, Option<f64>)> = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            if rows.is_empty() && header.is_empty() && starts_with_word(content) {
                header = content;
                continue;
            }
            if MOMENTS_MAX <= rows.len() {
                return Err(wrong(index, format!("more than {MOMENTS_MAX} lines")));
            }
            let row = read_row(content).map_err(|message| wrong(index, message))?;
            let Some((first, second)) = row else { continue };
            if rows
                .first()
                .is_some_and(|row| row.2.is_some() != second.is_some())
            {
                return Err(wrong(
                    index,
                    "has another number of columns than the first".to_owned(),
                ));
            }
            rows.push((index, first, second));
        }
        let lone_rates = RATE_HEADERS.contains(&bare(header).to_lowercase().as_str());
        let steps = match rows.first() {
            None => return Err(TraceError::Short),
            Some((_, _, Some(_))) => intervals(&rows)?,
            Some(_) if lone_rates => seconds(&rows)?,
            Some(_) => moments(&rows)?,
        };
        Ok(Self { steps })
    }

    /// The curve, `speed` times as fast, with every rate times `scale`. At `speed` 24 a day is played in an hour at
    /// the day's rates.
    pub fn profile(&self, speed: f64, scale: f64) -> Result<Profile, TraceError> {
        let steps = self
            .steps
            .iter()
            .map(|(rate, length)| (rate * scale, *length));
        Ok(Profile::steps(steps)?.faster(speed)?)
    }

    /// The longest time for which one rate holds, where that is so much longer than usual that lines must be missing.
    pub fn gap(&self) -> Option<Duration> {
        let longest = self.steps.iter().map(|(_, length)| *length).max()?;
        (usual(&self.steps)?.saturating_mul(GAP_TIMES) < longest).then_some(longest)
    }
}

/// How long a rate usually holds: the lower median.
fn usual(steps: &[(f64, Duration)]) -> Option<Duration> {
    let mut lengths: Vec<Duration> = steps.iter().map(|(_, length)| *length).collect();
    lengths.sort_unstable();
    let middle = lengths.len().checked_sub(1)? / 2;
    lengths.get(middle).copied()
}

fn starts_with_word(content: &str) -> bool {
    let first = bare(content.split([',', ';', '\t']).next().unwrap_or_default());
    first.parse::<f64>().is_err() && first.starts_with(char::is_alphabetic)
}

/// A cell without what a table puts around it.
fn bare(cell: &str) -> &str {
    cell.trim().trim_matches('"')
}

/// A number, or a moment: seconds, milliseconds since 1970, or a date and a time, of UTC where it names no zone.
fn moment(cell: &str) -> Option<f64> {
    if let Ok(number) = cell.parse::<f64>() {
        let is_ms = MS_SINCE < number;
        return Some(if is_ms { number / 1000.0 } else { number });
    }
    let timestamp = cell.parse::<jiff::Timestamp>().ok().or_else(|| {
        let date_time: jiff::civil::DateTime = cell.parse().ok()?;
        let zoned = date_time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(zoned.timestamp())
    })?;
    Some(timestamp.as_millisecond() as f64 / 1000.0)
}

fn wrong(index: usize, message: String) -> TraceError {
    TraceError::Line {
        line: index + 1,
        message,
    }
}

/// A moment, or a number, and a rate; `None` where the rate is not known.
fn read_row(content: &str) -> Result<Option<(f64, Option<f64>)>, String> {
    let cells: Vec<&str> = content.split([',', ';', '\t']).map(bare).collect();
    let number = |cell: &str, number: Option<f64>| {
        let number = number.filter(|number| 0.0 <= *number && number.is_finite());
        number.ok_or_else(|| format!("`{}` is not a number at or above zero", cell.escape_debug()))
    };
    let timed = |cell: &str| {
        number(cell, moment(cell))
            .map_err(|message| format!("{message}, nor a time such as 2026-01-31T12:00:00Z"))
    };
    match cells.as_slice() {
        [only] => Ok(Some((number(only, moment(only))?, None))),
        [first, second] => {
            let first = timed(first)?;
            if second.is_empty() || second.eq_ignore_ascii_case("nan") {
                return Ok(None);
            }
            Ok(Some((first, Some(number(second, second.parse().ok())?))))
        }
        _ => Err("has more than two columns; write seconds and requests per second".to_owned()),
    }
}

/// Rows of seconds and rates: each rate holds until the next row, and the last as long as the one before it, or as usual
/// where that one was a gap.
fn intervals(rows: &[(usize, f64, Option<f64>)]) -> Result<Vec<(f64, Duration)>, TraceError> {
    let mut steps: Vec<(f64, Duration)> = Vec::with_capacity(rows.len());
    for pair in rows.windows(2) {
        let [(_, from, rate), (line, to, _)] = pair else {
            continue;
        };
        if to <= from {
            return Err(wrong(
                *line,
                format!("{to} s is not after the {from} s of the line before"),
            ));
        }
        steps.push((rate.unwrap_or_default(), length(to - from)?));
    }
    let (Some(last), Some((_, before)), Some(usual)) = (rows.last(), steps.last(), usual(&steps))
    else {
        return Err(TraceError::Short);
    };
    let held = match usual.saturating_mul(GAP_TIMES) < *before {
        true => usual,
        false => *before,
    };
    steps.push((last.2.unwrap_or_default(), held));
    Ok(steps)
}

/// Rows of rates, a second each.
fn seconds(rows: &[(usize, f64, Option<f64>)]) -> Result<Vec<(f64, Duration)>, TraceError> {
    if rows.len() < 2 {
        return Err(TraceError::Short);
    }
    Ok(rows
        .iter()
        .map(|(_, rate, _)| (*rate, Duration::from_secs(1)))
        .collect())
}

/// Rows of moments, counted from the second in which the first lies.
fn moments(rows: &[(usize, f64, Option<f64>)]) -> Result<Vec<(f64, Duration)>, TraceError> {
    let first = rows.first().map_or(0.0, |row| row.1.floor());
    let mut counts: Vec<f64> = Vec::new();
    let mut before = first;
    for (line, moment, _) in rows {
        if *moment < before {
            return Err(wrong(
                *line,
                format!("{moment} s is before the {before} s of the line before"),
            ));
        }
        before = *moment;
        let slot = ((moment - first) * MOMENTS_PER_SECOND) as usize;
        if STEPS_MAX <= slot {
            return Err(wrong(*line, "is too long after the first".to_owned()));
        }
        counts.resize(counts.len().max(slot + 1), 0.0);
        counts[slot] += 1.0;
    }
    if rows.len() < 2 {
        return Err(TraceError::Short);
    }
    let slot = Duration::from_secs_f64(1.0 / MOMENTS_PER_SECOND);
    Ok(counts
        .into_iter()
        .map(|count| (count * MOMENTS_PER_SECOND, slot))
        .collect())
}

fn length(seconds: f64) -> Result<Duration, TraceError> {
    Duration::try_from_secs_f64(seconds).map_err(|_| ProfileError::Duration.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(text: &str) -> String {
        let trace = Trace::read(text).unwrap();
        trace.profile(1.0, 1.0).unwrap().to_string()
    }

    #[test]
    fn a_rate_holds_until_the_next_line() {
        let text = "# a day\nt_seconds,rps\n100,50\n\n160, 300 # noon\n170,10\n";
        assert_eq!(curve(text), "50@1m 300@10s 10@10s");
    }

    #[test]
    fn a_lone_column_is_rates_by_its_header_and_moments_otherwise() {
        assert_eq!(curve("rps\n5\n7.5\n"), "5@1s 7.5@1s");
        assert_eq!(
            curve("100.02\n100.07\n100.25\n"),
            "20@100ms 0@100ms 10@100ms"
        );
        let moments = Trace::read("0.01\n0.02\n7\n")
            .unwrap()
            .profile(1.0, 1.0)
            .unwrap();
        assert_eq!(moments.total_requests(), 3);
    }

    #[test]
    fn a_table_is_read_as_prometheus_and_grafana_export_it() {
        let expected = "30@15s 40@30s 110@30s";
        for text in [
            "1763719200,30\n1763719215,40\n1763719230,NaN\n1763719245,110\n",
            "Time,Value\n1763719200000,30\n1763719215000,40\n1763719245000,110\n",
            "\"Time\",\"Value\"\n\"2026-11-21 10:00:00\",30\n\"2026-11-21 10:00:15\",\"40\"\n\"2026-11-21 10:00:45\",110\n",
            "timestamp;rate\r\n2026-11-21T10:00:00Z;30\r\n2026-11-21T11:00:15+01:00;40\r\n2026-11-21T10:00:30Z;\r\n2026-11-21T10:00:45Z;110\r\n",
        ] {
            assert_eq!(curve(text), expected, "{text}");
        }
        assert_eq!(Trace::read("0,1\n15,2\n30,1\n").unwrap().gap(), None);
        let with_gap = Trace::read("0,1\n15,2\n7230,1\n7245,1\n").unwrap();
        assert_eq!(with_gap.gap(), Some(Duration::from_secs(7215)));
        // The rate after a gap does not hold for as long as it.
        let last = |text: &str| Trace::read(text).unwrap().steps.last().copied();
        assert_eq!(
            last("0,10\n15,10\n30,10\n3600,500\n"),
            Some((500.0, Duration::from_secs(15)))
        );
        assert_eq!(
            last("0,10\n15,10\n45,20\n"),
            Some((20.0, Duration::from_secs(30)))
        );
    }

    #[test]
    fn a_trace_that_cannot_be_replayed_says_at_which_line() {
        let cases = [
            ("", "needs two lines"),
            ("0,10\n", "needs two lines"),
            ("0,10\n5,fast\n", "line 2: `fast` is not a number"),
            (
                "0,10\n5,-1\n",
                "line 2: `-1` is not a number at or above zero",
            ),
            ("0,10\n5,NaN\n", "needs two lines"),
            ("0,10\n5,inf\n", "line 2: `inf`"),
            ("noon,10\n12h,5\n", "line 2: `12h` is not a number"),
            ("2026-01-31,5\n2026-01-32,5\n", "line 2: `2026-01-32`"),
            ("0,10 req/s\n", "line 1: `10 req/s` is not a number"),
            ("0,10\n\n0,20\n", "line 3: 0 s is not after"),
            ("5\n4\n", "line 2: 4 s is before"),
            ("0,10\n5\n", "line 2: has another number of columns"),
            ("0,1,2\n1,1,2\n", "line 1: has more than two columns"),
            ("0\n1e12\n", "line 2: is too long after"),
        ];
        for (text, expected) in cases {
            let error = Trace::read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let long = Trace::read("0,10\n1e9,10\n").unwrap().profile(1.0, 1.0);
        assert_eq!(long, Err(TraceError::Profile(ProfileError::Duration)));
    }

    #[test]
    fn speed_shortens_and_scale_multiplies() {
        let trace = Trace::read("0,10\n60,20\n").unwrap();
        let played = trace.profile(60.0, 0.5).unwrap();
        assert_eq!(played.to_string(), "5@1s 10@1s");
    }
}
