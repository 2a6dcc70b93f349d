//! Properties of the reader: every way to print a page reads the same, and nothing that bytes can do makes it panic.

use proptest::prelude::*;

use super::pages::{ANY_VALUE, NAME, SampleSeries, print, series, style};
use super::tests::{Shape, shapes};
use super::{Format, Limits, PageReader, Want};
use crate::model::reading::Reading;

fn expected(series: &[SampleSeries]) -> Vec<Shape> {
    series
        .iter()
        .map(|one| (one.buckets.clone(), one.count, Some(one.sum)))
        .collect()
}

fn named() -> PageReader {
    let want = Want {
        histogram: Some(NAME.to_owned()),
        ..Want::default()
    };
    PageReader::new(want, Limits::default())
}

/// A reader whose names are short enough to be hit by chance.
fn short() -> PageReader {
    let want = Want {
        histogram: Some("h".to_owned()),
        in_flight: Some("busy".to_owned()),
        ..Want::default()
    };
    PageReader::new(want, Limits::default())
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_in_every_style(
        series in series(ANY_VALUE),
        text in style(Format::Text),
        openmetrics in style(Format::OpenMetrics),
    ) {
        let mut keys: Vec<Vec<u64>> = Vec::new();
        for style in [text, openmetrics] {
            let page = print(&series, style);
            let mut out = Reading::default();
            named().read(page.as_bytes(), style.format, &mut out).unwrap();
            prop_assert_eq!(shapes(&out), expected(&series), "{}", page);
            prop_assert_eq!(out.bad_lines, 0, "{}", page);
            keys.push(out.series.iter().map(|series| series.key).collect());
        }
        prop_assert_eq!(&keys[0], &keys[1], "a series has the same key in every style");
        let mut distinct = keys[0].clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), series.len(), "two series have two keys");
    }

    #[test]
    fn a_damaged_page_never_panics_and_never_yields_a_bad_number(
        series in series(ANY_VALUE),
        style in style(Format::Text),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut page = print(&series, style).into_bytes();
        for (at, byte) in damage {
            let at = at.index(page.len());
            page[at] = byte;
        }
        let mut reader = named();
        for format in [Format::Text, Format::OpenMetrics] {
            let mut out = Reading::default();
            let _ = reader.read(&page, format, &mut out);
            for series in &out.series {
                let bounds = out.bounds_of(series);
                prop_assert!(bounds.is_sorted_by(|left, right| left < right));
                // Without its type and its buckets a histogram looks like a summary, which has none.
                prop_assert!(bounds.last().is_none_or(|last| *last == f64::INFINITY));
                prop_assert!(out.counts_of(series).iter().all(|count| 0.0 <= *count && count.is_finite()));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        lines in proptest::collection::vec(
            (prop::sample::select(vec!["", "h_bucket", "h_sum{", "{\"h_count\"", "# TYPE h ", "busy", "# EOF"]),
             proptest::collection::vec(any::<u8>(), 0..40)),
            0..8,
        ),
    ) {
        let mut page = Vec::new();
        for (start, rest) in lines {
            page.extend(start.as_bytes());
            page.extend(rest);
            page.push(b'\n');
        }
        for format in [Format::Text, Format::OpenMetrics] {
            let mut out = Reading::default();
            let _ = short().read(&page, format, &mut out);
            let _ = PageReader::new(Want::default(), Limits::default()).read(&page, format, &mut out);
            page.extend(b"# EOF");
        }
    }
}
