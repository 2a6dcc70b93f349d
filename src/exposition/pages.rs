//! Random pages for the property tests: series as data, and many ways to print them that must all read the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::Format;

/// The family of the generated histograms.
pub(super) const NAME: &str = "http_request_duration_seconds";

/// Label values out of every corner of the format.
pub(super) const ANY_VALUE: &str = r#"([a-z{}=,"\\#\n \t]|\PC){0,8}"#;

/// Label values that need no quoting skill.
pub(super) const PLAIN_VALUE: &str = "[a-zA-Z0-9/._-]{1,8}";

/// One series of a histogram.
#[derive(Clone, Debug)]
pub(super) struct SampleSeries {
    pub(super) labels: BTreeMap<String, String>,
    /// Bounds, ascending, the last infinite, with cumulative counts.
    pub(super) buckets: Vec<(f64, f64)>,
    pub(super) count: f64,
    pub(super) sum: f64,
}

/// How a page is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: Format,
    pub(super) reversed_labels: bool,
    pub(super) bound_first: bool,
    pub(super) blanks: bool,
    pub(super) trailing_comma: bool,
    pub(super) carriage_return: bool,
    pub(super) timestamps: bool,
    pub(super) noise: bool,
    pub(super) quoted_name: bool,
}

impl Style {
    /// As most client libraries print it.
    pub(super) fn plain(format: Format) -> Self {
        Self {
            format,
            reversed_labels: false,
            bound_first: false,
            blanks: false,
            trailing_comma: false,
            carriage_return: false,
            timestamps: false,
            noise: false,
            quoted_name: false,
        }
    }
}

pub(super) fn style(format: Format) -> impl Strategy<Value = Style> {
    any::<[bool; 8]>().prop_map(move |flags| Style {
        format,
        reversed_labels: flags[0],
        bound_first: flags[1],
        blanks: flags[2],
        trailing_comma: flags[3],
        carriage_return: flags[4],
        timestamps: flags[5],
        noise: flags[6],
        quoted_name: flags[7],
    })
}

/// One to five series with different labels, whose values match a pattern.
pub(super) fn series(values: &'static str) -> impl Strategy<Value = Vec<SampleSeries>> {
    let labels = btree_map("[a-k_][a-z0-9_]{0,4}", values, 0..4);
    vec((labels, buckets(), 0.0..1e9f64), 1..6).prop_map(|drawn| {
        let mut known = BTreeSet::new();
        drawn
            .into_iter()
            .filter(|(labels, ..)| {
                let set: Vec<_> = labels
                    .iter()
                    .filter(|(_, value)| !value.is_empty())
                    .collect();
                known.insert(format!("{set:?}"))
            })
            .map(|(labels, buckets, sum)| SampleSeries {
                labels,
                count: buckets.last().map_or(0.0, |(_, count)| *count),
                buckets,
                sum,
            })
            .collect()
    })
}

fn buckets() -> impl Strategy<Value = Vec<(f64, f64)>> {
    btree_set(1..1_000_000u32, 0..8)
        .prop_flat_map(|bounds| {
            let length = bounds.len() + 1;
            (Just(bounds), vec(0..1000u32, length))
        })
        .prop_map(|(bounds, increases)| {
            let mut cumulative = 0.0;
            bounds
                .into_iter()
                .map(|bound| f64::from(bound) / 1000.0)
                .chain([f64::INFINITY])
                .zip(increases)
                .map(|(bound, increase)| {
                    cumulative += f64::from(increase);
                    (bound, cumulative)
                })
                .collect()
        })
}

/// Prints series as a page.
pub(super) fn print(series: &[SampleSeries], style: Style) -> String {
    let mut page = format!("# HELP {NAME} How long requests took.\n# TYPE {NAME} histogram\n");
    if style.noise {
        page.push_str("# TYPE other counter\nother_total{x=\"y\" 1\n\nother_total 5\n");
    }
    for one in series {
        for (bound, count) in &one.buckets {
            let bound = if bound.is_infinite() {
                "+Inf".to_owned()
            } else {
                bound.to_string()
            };
            print_line(
                &mut page,
                style,
                "_bucket",
                &one.labels,
                Some(&bound),
                *count,
            );
        }
        print_line(&mut page, style, "_sum", &one.labels, None, one.sum);
        print_line(&mut page, style, "_count", &one.labels, None, one.count);
        if style.noise {
            let _ = writeln!(page, "{NAME}_created 1700000000.5\n{NAME}_buckets 9");
        }
    }
    if style.carriage_return {
        page = page.replace('\n', "\r\n");
    }
    if style.format == Format::OpenMetrics {
        page.push_str("# EOF\n");
    }
    page
}

fn print_line(
    page: &mut String,
    style: Style,
    suffix: &str,
    labels: &BTreeMap<String, String>,
    bound: Option<&str>,
    value: f64,
) {
    let blank = if style.blanks { " \t" } else { "" };
    let name = format!("{NAME}{suffix}");
    let mut items: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}{blank}={blank}\"{}\"", escaped(value)))
        .collect();
    if style.reversed_labels {
        items.reverse();
    }
    if let Some(bound) = bound {
        let at = if style.bound_first { 0 } else { items.len() };
        items.insert(at, format!("le{blank}={blank}\"{bound}\""));
    }
    if style.quoted_name {
        items.insert(0, format!("\"{name}\""));
    } else {
        page.push_str(&name);
    }
    if !items.is_empty() {
        let comma = if style.trailing_comma { "," } else { "" };
        let items = items.join(&format!("{blank},{blank}"));
        let _ = write!(page, "{blank}{{{blank}{items}{comma}{blank}}}");
    }
    let _ = write!(page, " {blank}{value}");
    match (style.timestamps, style.format) {
        (false, _) => {}
        (true, Format::Text) => page.push_str(" 1700000000123"),
        (true, Format::OpenMetrics) => {
            page.push_str(" 1700000000.123 # {trace_id=\"a}b\"} 0.2 1700000000.1");
        }
    }
    page.push_str(if style.blanks { " \n" } else { "\n" });
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}
