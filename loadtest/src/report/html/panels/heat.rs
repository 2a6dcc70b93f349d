//! How many requests took how long: of each moment, the share that took so long, as a shade. Two humps, or a few slow
//! requests among many fast ones, are seen here and in no quantile.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::super::svg::Cell;
use super::{Key, Timelines};
use crate::measured::{Measured, Slot};
use crate::report::scale::Scale;
use crate::report::text;

/// Columns: as wide as an eye tells apart, and the file stays small.
const COLUMNS: usize = 200;

/// Rows: on a logarithmic axis over three decades each is a third longer than the one below.
const ROWS: usize = 24;

/// From which share of a column's requests on a cell has each shade, the faintest first: even one request is seen.
const SHADES: [(f64, &str); 5] = [
    (0.0, "heat0"),
    (0.02, "heat1"),
    (0.06, "heat2"),
    (0.15, "heat3"),
    (0.35, "heat4"),
];

/// Neighbours of one shade in a row: from and to which column.
type Run = Range<usize>;

impl Timelines<'_> {
    pub(super) fn heat(&self, out: &mut String) -> fmt::Result {
        let load = &self.service.load;
        let Some((least_ms, most_ms)) = extremes_ms(&load.slots) else {
            return Ok(());
        };
        let scale = Scale::log_with(least_ms, most_ms, 5);
        let width = load.slots.len().div_ceil(COLUMNS).max(1);
        let mut chart = self.canvas.chart(150, scale.clone(), text::latency)?;
        for (shade, runs) in runs(&load.slots, width, &scale) {
            let cell = |(row, run): &(usize, Run)| Cell {
                from_s: (run.start * width) as f64,
                to_s: (run.end * width).min(load.slots.len()) as f64,
                low: row_ms(&scale, *row),
                high: row_ms(&scale, row + 1),
            };
            chart.cells(SHADES[shade].1, runs.iter().map(cell))?;
        }
        let objective_ms = self.slo.map(|slo| slo.target.seconds() * 1e3);
        // One that no request was near would only take the room of those that there were.
        if let Some(ms) = objective_ms.filter(|ms| (scale.from..=scale.to).contains(ms)) {
            chart.level("objective", ms, &format!("objective {}", text::latency(ms)))?;
        }
        self.canvas.over(&mut chart, |range| told(load, range))?;
        let keys: [Key<'_>; 2] = [
            (
                SHADES[4].1,
                "a third or more of the requests of a moment".to_owned(),
            ),
            (SHADES[0].1, "a few of them".to_owned()),
        ];
        let title = "How many requests took how long, logarithmic";
        let description = format!(
            "Good answers and timeouts, from {} to {}.",
            text::latency(least_ms),
            text::latency(most_ms)
        );
        self.panel(out, chart, "heat", title, &keys, &description)
    }
}

/// The shortest and the longest latency, in milliseconds.
fn extremes_ms(slots: &[Slot]) -> Option<(f64, f64)> {
    let ms = |slot: &Slot, q| slot.quantile(q).map(|latency| latency.as_secs_f64() * 1e3);
    let least = slots
        .iter()
        .filter_map(|slot| ms(slot, 0.0))
        .reduce(f64::min)?;
    let most = slots
        .iter()
        .filter_map(|slot| ms(slot, 1.0))
        .reduce(f64::max)?;
    Some((least, most))
}

/// The cells of each shade, neighbours in a row as one.
fn runs(slots: &[Slot], width: usize, scale: &Scale) -> BTreeMap<usize, Vec<(usize, Run)>> {
    let mut runs: BTreeMap<usize, Vec<(usize, Run)>> = BTreeMap::new();
    let mut last: [Option<(usize, Run)>; ROWS] = std::array::from_fn(|_| None);
    for (column, slots) in slots.chunks(width).enumerate() {
        for (row, shade) in shades(slots, scale).into_iter().enumerate() {
            match (&mut last[row], shade) {
                (Some((of, run)), Some(shade)) if *of == shade => run.end = column + 1,
                (last, shade) => {
                    let next = shade.map(|shade| (shade, column..column + 1));
                    if let Some((shade, run)) = std::mem::replace(last, next) {
                        runs.entry(shade).or_default().push((row, run));
                    }
                }
            }
        }
    }
    for (row, last) in last.into_iter().enumerate() {
        if let Some((shade, run)) = last {
            runs.entry(shade).or_default().push((row, run));
        }
    }
    runs
}

/// The shade of each row of a column, the shortest latencies first; `None` where no request took so long.
fn shades(slots: &[Slot], scale: &Scale) -> [Option<usize>; ROWS] {
    let mut counts = [0; ROWS];
    for (latency, count) in slots.iter().flat_map(Slot::latencies) {
        let place = scale.place(latency.as_secs_f64() * 1e3);
        counts[((place * ROWS as f64) as usize).min(ROWS - 1)] += count;
    }
    let all = counts.iter().sum::<u64>() as f64;
    counts.map(|count| {
        let share = count as f64 / all;
        let is_reached = |(from, _): &(f64, &str)| *from <= share;
        (0 < count).then(|| SHADES.iter().rposition(is_reached).unwrap_or(0))
    })
}

/// The latency at the lower edge of a row.
fn row_ms(scale: &Scale, row: usize) -> f64 {
    scale.from * (scale.to / scale.from).powf(row as f64 / ROWS as f64)
}

fn told(load: &Measured, range: Range<usize>) -> String {
    let latencies = load.latencies_of(range);
    let ms = |q| {
        latencies
            .quantile(q)
            .map(|latency| latency.as_secs_f64() * 1e3)
    };
    match [0.0, 0.5, 1.0].map(ms) {
        [Some(least), Some(half), Some(most)] => format!(
            "{} answers within {} to {}, half of them within {}",
            text::count(latencies.count()),
            text::latency(least),
            text::latency(most),
            text::latency(half)
        ),
        _ => "no answers".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measured::{Counts, Latencies};

    /// A second with so many answers of each latency.
    fn slot(answers: &[(u64, u64)]) -> Slot {
        let answers = answers.iter();
        let latencies: Latencies = answers
            .map(|(ms, count)| (Duration::from_millis(*ms), *count))
            .collect();
        Slot::new(Counts::default(), &latencies)
    }

    #[test]
    fn two_humps_are_two_rows_and_one_slow_request_of_many_is_seen() {
        let scale = Scale::log(1.0, 1000.0);
        let shades = shades(&[slot(&[(2, 60), (200, 39), (900, 1)])], &scale);
        let seen: Vec<(usize, usize)> = (0..ROWS)
            .filter_map(|row| Some((row, shades[row]?)))
            .collect();
        let row = |ms: f64| (0..ROWS).rfind(|row| row_ms(&scale, *row) <= ms).unwrap();
        assert_eq!(seen, [(row(2.0), 4), (row(200.0), 4), (row(900.0), 0)]);
    }

    #[test]
    fn neighbours_of_one_shade_are_one_and_nothing_is_lost() {
        let slots: Vec<Slot> = (0..10)
            .map(|second| match second {
                0..4 => slot(&[(10, 100)]),
                4..6 => Slot::default(),
                _ => slot(&[(10, 90), (500, 10)]),
            })
            .collect();
        let runs = runs(&slots, 2, &Scale::log(1.0, 1000.0));
        let ends = |(_, run): (usize, Run)| (run.start, run.end);
        let of: Vec<(usize, Vec<(usize, usize)>)> = runs
            .into_iter()
            .map(|(shade, runs)| (shade, runs.into_iter().map(ends).collect()))
            .collect();
        assert_eq!(of, [(2, vec![(3, 5)]), (4, vec![(0, 2), (3, 5)])]);
    }
}
