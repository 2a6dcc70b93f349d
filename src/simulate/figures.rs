//! The figures of a service as a table: what each is called, how it is told, and which of several runs has the best. The
//! terminal and the page show the same.

use taffrail_loadtest::measured::Quantile;
use taffrail_loadtest::recording;
use taffrail_loadtest::report::html::compare::{Cell, Row};
use taffrail_loadtest::report::text;
use taffrail_loadtest::scenario::Slo;

use crate::sim::Outcome;

/// What one column tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    pub(super) service: &'a recording::Service,
    pub(super) outcome: &'a Outcome,
    pub(super) slo: Option<Slo>,
    /// How long the loads last, in seconds.
    pub(super) duration_s: f64,
}

/// The rows of these columns; of figures that no column has there is no row.
pub(super) fn rows(columns: &[Column<'_>]) -> Vec<Row> {
    let mut rows = Rows {
        columns,
        rows: Vec::new(),
    };
    let slo = columns.first().and_then(|column| column.slo);
    rows.plain("requests", |column| {
        Some(text::count(column.outcome.requests))
    });
    let failed = |column: &Column<'_>| column.service.load.counts.failed() as f64;
    rows.least(
        "failed",
        |column| Some(failed(column)),
        |n| text::count(n as u64),
    );
    for q in [0.5, 0.95, 0.99] {
        rows.least(&text::quantile(q), |column| latency_ms(column, q), latency);
    }
    if let Some(slo) = slo {
        let limit = text::latency(slo.target.seconds() * 1e3);
        rows.least(
            &format!("failed or over {limit}"),
            |column| column.outcome.bad_share,
            text::percent,
        );
        rows.least(
            &format!(
                "{} missed for",
                text::objective(slo.quantile, slo.target.seconds() * 1e3)
            ),
            |column| column.outcome.violation_minutes,
            |minutes| text::span(minutes * 60.0),
        );
    }
    rows.plain("ready replicas", replicas);
    rows.plain("mean replicas", |column| {
        Some(format!("{:.1}", column.outcome.mean_replicas))
    });
    rows.least("pod-hours", |column| Some(column.outcome.pod_hours), hours);
    rows.plain("the oracle's pod-hours", |column| {
        column.outcome.oracle_pod_hours.map(hours)
    });
    rows.least(
        "times the oracle's",
        |column| column.outcome.cost_ratio,
        |ratio| format!("{ratio:.2}"),
    );
    rows.least(
        "scale events",
        |column| column.outcome.scale_events.map(f64::from),
        whole,
    );
    rows.least("flaps", |column| column.outcome.flaps.map(f64::from), whole);
    rows.least(
        "first scale-out after",
        |column| column.outcome.first_scale_out_s,
        text::span,
    );
    rows.plain("overshoot", |column| {
        let percent = (column.outcome.overshoot? * 100.0).round();
        // Nothing below zero is zero, too, and has no sign.
        let sign = if 0.0 < percent { "+" } else { "" };
        Some(format!("{sign}{:.0} %", percent + 0.0))
    });
    rows.least(
        "at maxReplicas for",
        |column| column.outcome.seconds_at_max,
        text::span,
    );
    rows.rows
}

struct Rows<'c, 'a> {
    columns: &'c [Column<'a>],
    rows: Vec<Row>,
}

impl Rows<'_, '_> {
    /// A figure of which none is better than another.
    fn plain(&mut self, label: &str, value: impl Fn(&Column<'_>) -> Option<String>) {
        let cell = |column| Cell {
            text: value(column).unwrap_or_default(),
            is_best: false,
        };
        let cells = self.columns.iter().map(cell).collect();
        self.push(label, cells);
    }

    /// A figure of which less is better.
    fn least(
        &mut self,
        label: &str,
        value: impl Fn(&Column<'_>) -> Option<f64>,
        word: impl Fn(f64) -> String,
    ) {
        let values: Vec<Option<f64>> = self.columns.iter().map(value).collect();
        let told: Vec<String> = values
            .iter()
            .map(|value| value.map(&word).unwrap_or_default())
            .collect();
        let least = values.iter().flatten().copied().reduce(f64::min);
        let best = values.iter().position(|value| *value == least);
        let best = best.map_or("", |best| told[best].as_str()).to_owned();
        // What reads alike is alike, and where all do, none is best.
        let differ = told.iter().any(|other| *other != best);
        let cells = told.into_iter().map(|text| Cell {
            is_best: differ && !text.is_empty() && text == best,
            text,
        });
        let cells = cells.collect();
        self.push(label, cells);
    }

    fn push(&mut self, label: &str, cells: Vec<Cell>) {
        if cells.iter().any(|cell| !cell.text.is_empty()) {
            self.rows.push(Row {
                label: label.to_owned(),
                cells,
            });
        }
    }
}

/// A quantile of all requests, of which those that failed are the slowest: infinite when it lies among them.
fn latency_ms(column: &Column<'_>, q: f64) -> Option<f64> {
    let load = &column.service.load;
    let counts = &load.counts;
    let quantile = load
        .latency
        .quantile_with_failures(q, counts.ok, counts.failed())?;
    Some(match quantile {
        Quantile::Answered(latency) => latency.as_secs_f64() * 1e3,
        Quantile::Failed => f64::INFINITY,
    })
}

fn latency(ms: f64) -> String {
    if ms.is_finite() {
        text::latency(ms)
    } else {
        "failed".to_owned()
    }
}

fn replicas(column: &Column<'_>) -> Option<String> {
    let ready = &column.service.replicas.ready;
    let run = 0.0..column.duration_s;
    let (min, max) = ready.min(run.clone()).zip(ready.max(run))?;
    Some(if min == max {
        max.to_string()
    } else {
        format!("{min} to {max}")
    })
}

fn hours(hours: f64) -> String {
    format!("{hours:.2}")
}

fn whole(n: f64) -> String {
    text::count(n as u64)
}
