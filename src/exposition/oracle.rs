//! The scanner against `prometheus-parse`, on pages of which that crate reads every line rightly: text format, label
//! values without quotes, commas, equal signs, braces or backslashes. This is the one file that names it.

use std::collections::BTreeMap;
use std::io;

use prometheus_parse::{Scrape, Value};
use proptest::prelude::*;

use super::pages::{NAME, PLAIN_VALUE, SampleSeries, Style, print, series};
use super::{Event, Format, Limits, Part, Wanted, scan};

/// One sample: its labels with `le`, which of its family's it is, and its value.
type Flat = (BTreeMap<String, String>, &'static str, String);

fn by_the_oracle(page: &str) -> Vec<Flat> {
    let lines = page.lines().map(|line| io::Result::Ok(line.to_owned()));
    let mut samples = Vec::new();
    for sample in Scrape::parse(lines).unwrap().samples {
        let labels: BTreeMap<_, _> = (*sample.labels).clone().into_iter().collect();
        match (sample.value, sample.metric.strip_prefix(NAME)) {
            (Value::Histogram(buckets), Some("")) => samples.extend(buckets.iter().map(|bucket| {
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), bucket.less_than.to_string());
                (labels, "bucket", bucket.count.to_string())
            })),
            (Value::Untyped(sum), Some("_sum")) => samples.push((labels, "sum", sum.to_string())),
            (Value::Untyped(count), Some("_count")) => {
                samples.push((labels, "count", count.to_string()));
            }
            _ => {}
        }
    }
    samples.sort();
    samples
}

fn by_the_scanner(page: &str) -> Vec<Flat> {
    let mut samples = Vec::new();
    let wanted = Wanted::new(NAME, None, None);
    scan(
        page.as_bytes(),
        Format::Text,
        &wanted,
        &Limits::default(),
        |event| {
            let line = match event {
                Event::Sample(line) => line,
                Event::Type(..) => return Ok(()),
                Event::Bad(bad) => panic!("{bad:?}"),
            };
            let labels = line
                .labels
                .iter()
                .map(|label| {
                    let (name, value) = (label.name.text(), label.value.text());
                    let value = match &*name {
                        "le" => super::number::value(&value).unwrap().to_string(),
                        _ => value.into_owned(),
                    };
                    (name.into_owned(), value)
                })
                .collect();
            let part = match line.part {
                Part::Bucket => "bucket",
                Part::Sum => "sum",
                Part::Count => "count",
                Part::Value => "value",
            };
            samples.push((labels, part, line.value.to_string()));
            Ok(())
        },
    )
    .unwrap();
    samples.sort();
    samples
}

fn page(series: &[SampleSeries], timestamps: bool, noise: bool, reversed_labels: bool) -> String {
    let style = Style {
        timestamps,
        noise,
        reversed_labels,
        ..Style::plain(Format::Text)
    };
    print(series, style)
}

proptest! {
    #[test]
    fn both_read_the_same_samples(
        series in series(PLAIN_VALUE),
        flags in any::<[bool; 3]>(),
    ) {
        let page = page(&series, flags[0], flags[1], flags[2]);
        let expected = by_the_oracle(&page);
        let lines: usize = series.iter().map(|series| series.buckets.len() + 2).sum();
        prop_assert_eq!(expected.len(), lines, "the oracle lost a line");
        prop_assert_eq!(by_the_scanner(&page), expected);
    }
}
