//! Pages in, readings out: the faults of real pages one by one. Here pages as a whole and what stands beside the
//! histogram; lines and histograms have files of their own.

mod histograms;
mod lines;

use super::{Format, Limits, PageReader, Want};
use crate::model::health::{Failure, FailureReason};
use crate::model::reading::{Missing, Reading};

fn want() -> Want {
    Want {
        histogram: Some("h".to_owned()),
        in_flight: Some("busy".to_owned()),
        cpu: Some("cpu_seconds_total".to_owned()),
        ..Want::default()
    }
}

fn reader() -> PageReader {
    PageReader::new(want(), Limits::default())
}

fn try_read(reader: &mut PageReader, page: &str) -> Result<Reading, Failure> {
    let mut out = Reading::default();
    reader
        .read(page.as_bytes(), Format::Text, &mut out)
        .map(|()| out)
}

fn read(page: &str) -> Reading {
    try_read(&mut reader(), page).unwrap_or_else(|failure| panic!("{page}: {failure}"))
}

fn failure(page: &str, format: Format) -> Failure {
    let mut out = Reading::default();
    let failure = reader()
        .read(page.as_bytes(), format, &mut out)
        .unwrap_err();
    assert_eq!(out, Reading::default(), "nothing of a failed page is kept");
    failure
}

/// The buckets of each series, its count and its sum.
pub(super) type Shape = (Vec<(f64, f64)>, f64, Option<f64>);

pub(super) fn shapes(reading: &Reading) -> Vec<Shape> {
    reading
        .series
        .iter()
        .map(|series| {
            let bounds = reading.bounds_of(series).iter().copied();
            let counts = reading.counts_of(series).iter().copied();
            (bounds.zip(counts).collect(), series.count, series.sum)
        })
        .collect()
}

const INF: f64 = f64::INFINITY;

/// A good series, so that a page with a broken one beside it can be read.
const GOOD: &str = "h_bucket{ok=\"1\",le=\"1\"} 3\nh_bucket{ok=\"1\",le=\"+Inf\"} 4\nh_sum{ok=\"1\"} 2.5\nh_count{ok=\"1\"} 4\n";

fn good() -> Shape {
    (vec![(1.0, 3.0), (INF, 4.0)], 4.0, Some(2.5))
}

/// What remains of a page that has the good series and these lines.
fn beside_good(lines: &str) -> (Vec<Shape>, u32) {
    let reading = read(&format!("# TYPE h histogram\n{GOOD}{lines}\n"));
    let mut shapes = shapes(&reading);
    assert_eq!(shapes.remove(0), good(), "{lines}");
    (shapes, reading.bad_lines)
}

#[test]
fn a_whole_page_is_read() {
    let reading = read(&format!(
        "# HELP h Time.\n# TYPE h histogram\n{GOOD}\n# TYPE busy gauge\nbusy 3\n# TYPE cpu_seconds_total counter\n\
         cpu_seconds_total 12.5\n# a comment\nother{{ 1\n"
    ));
    assert_eq!(shapes(&reading), [good()]);
    assert_eq!(reading.in_flight, Some(3.0));
    assert_eq!(reading.cpu_seconds, Some(12.5));
    assert_eq!(reading.bad_lines, 0);
}

#[test]
fn gauges_and_counters_are_summed_or_absent() {
    for (lines, in_flight, cpu, bad) in [
        ("busy 3", Some(3.0), None, 0),
        ("busy{a=\"1\"} 3\nbusy{a=\"2\"} 4", Some(7.0), None, 0),
        ("busy{a=\"1\"} 3\nbusy{a=\"1\"} 4", Some(3.0), None, 1),
        ("busy{a=\"1\"} 3\nbusy{a=\"2\"} NaN", None, None, 0),
        ("busy{a=\"1\"} 3\nbusy{a=\"2\"} x", None, None, 1),
        ("busy{a=\"1\"} 3\nbusy{a=\"2} 1", None, None, 1),
        ("busy -1", None, None, 0),
        ("busy +Inf", None, None, 0),
        ("busy 1e400", None, None, 1),
        ("cpu_seconds_total 1.5", None, Some(1.5), 0),
        ("cpu_seconds 1.5", None, Some(1.5), 0),
        ("cpu_seconds_total_x 1.5\nbusy_x 2", None, None, 0),
        ("busy 0\ncpu_seconds_total 0", Some(0.0), Some(0.0), 0),
    ] {
        let reading = read(&format!("{GOOD}{lines}\n"));
        assert_eq!(
            (reading.in_flight, reading.cpu_seconds, reading.bad_lines),
            (in_flight, cpu, bad),
            "{lines}"
        );
    }
}

#[test]
fn a_metric_asked_for_is_missing_when_the_page_has_no_line_of_it() {
    let mut reader = reader();
    for (lines, in_flight, cpu) in [
        ("", true, true),
        ("busy 3\ncpu_seconds_total 1", false, false),
        ("busyy 3\ncpu_second_total 1", true, true),
        ("# TYPE busy gauge\ncpu_seconds x", false, false),
        ("busy{a=\"1} 3", false, true),
        ("# TYPE cpu_seconds_total counter", true, false),
    ] {
        let reading = try_read(&mut reader, &format!("{GOOD}{lines}\n")).unwrap();
        assert_eq!(reading.missing, Missing { in_flight, cpu }, "{lines}");
    }
    let want = Want {
        histogram: Some("h".to_owned()),
        ..Want::default()
    };
    let mut unasked = PageReader::new(want, Limits::default());
    let reading = try_read(&mut unasked, GOOD).unwrap();
    assert_eq!(reading.missing, Missing::default());
}

#[test]
fn what_was_missing_before_is_no_news() {
    let gauge = Missing {
        in_flight: true,
        cpu: false,
    };
    let both = Missing {
        in_flight: true,
        cpu: true,
    };
    assert_eq!(gauge.since(Missing::default()), gauge);
    assert_eq!(gauge.since(gauge), Missing::default());
    let cpu = Missing {
        in_flight: false,
        cpu: true,
    };
    assert_eq!(both.since(gauge), cpu);
    assert_eq!(Missing::default().since(both), Missing::default());
}

#[test]
fn openmetrics_brings_exemplars_created_units_and_seconds() {
    let page = "# TYPE h histogram\n# UNIT h seconds\n# HELP h Time.\n\
                h_bucket{le=\"0.1\"} 1 1700000000.123 # {trace_id=\"a}\\\"b\"} 0.05 1700000000.1\n\
                h_bucket{le=\"+Inf\"} 2 # {} 3\nh_sum 0.5\nh_count 2\nh_created 1700000000.5\n\
                # TYPE cpu_seconds counter\ncpu_seconds_total 5 # {a=\"b\"} 1\ncpu_seconds_created 1.7e9\n\
                # TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
    let mut out = Reading::default();
    reader()
        .read(page.as_bytes(), Format::OpenMetrics, &mut out)
        .unwrap();
    assert_eq!(
        shapes(&out),
        [(vec![(0.1, 1.0), (INF, 2.0)], 2.0, Some(0.5))]
    );
    assert_eq!((out.cpu_seconds, out.bad_lines), (Some(5.0), 0));
}

#[test]
fn a_page_that_is_not_whole_is_refused_whole() {
    let whole = format!("# TYPE h histogram\n{GOOD}");
    for cut in 1..whole.len() {
        let page = &whole[..cut];
        if !page.ends_with('\n') {
            let failure = failure(page, Format::Text);
            assert_eq!(failure.reason, FailureReason::Malformed);
            assert!(failure.message.contains("truncated"), "{failure}");
        }
        let failure = failure(page, Format::OpenMetrics);
        assert!(failure.message.contains("truncated"), "{failure}");
    }
    let mut out = Reading::default();
    for end in ["# EOF", "# EOF\n", "# EOF\r\n"] {
        let page = format!("{whole}{end}");
        reader()
            .read(page.as_bytes(), Format::OpenMetrics, &mut out)
            .unwrap();
        assert_eq!(shapes(&out), [good()]);
    }
    let twice = failure(
        &format!("{whole}# EOF\n{whole}# EOF\n"),
        Format::OpenMetrics,
    );
    assert!(twice.message.contains("after its # EOF"), "{twice}");
}

#[test]
fn what_is_no_page_of_metrics_is_refused() {
    for page in [
        "",
        " \n\n",
        "<!DOCTYPE html><html></html>\n",
        "\n  <html>\n",
        "{}\n",
        "{\"status\": \"ok\"}\n",
        "{\n  \"status\" : \"ok\"\n}\n",
        "[1, 2]\n",
    ] {
        for format in [Format::Text, Format::OpenMetrics] {
            let failure = failure(page, format);
            assert_eq!(failure.reason, FailureReason::Malformed, "{page}");
            assert!(!failure.message.contains("truncated"), "{page}: {failure}");
        }
    }
    assert_eq!(
        failure("Not found\n", Format::Text).reason,
        FailureReason::NotFound
    );
}

#[test]
fn limits_are_named_when_they_are_hit() {
    let small = Limits {
        line_bytes: 60,
        lines: 8,
        series: 2,
        labels: 3,
    };
    let read = |page: &str| {
        let mut reader = PageReader::new(want(), small);
        try_read(&mut reader, page)
    };
    let series = |nth: usize| format!("h_bucket{{a=\"{nth}\",le=\"+Inf\"}} 1\n");
    assert!(read(&(series(1) + &series(2))).is_ok());
    for (page, named) in [
        (series(1) + &series(2) + &series(3), "2 series"),
        (
            "busy{a=\"1\"} 1\nbusy{a=\"2\"} 1\nbusy{a=\"3\"} 1\n".to_owned(),
            "2 series",
        ),
        (
            "h_sum{a=\"1\",b=\"1\",c=\"1\",d=\"1\"} 1\n".to_owned(),
            "3 labels",
        ),
        ("x 1\n".repeat(9), "8 lines"),
        (format!("x 1\n# HELP {}\n", "y".repeat(60)), "line 2"),
    ] {
        let failure = read(&page).unwrap_err();
        assert_eq!(failure.reason, FailureReason::TooLarge, "{page}");
        assert!(failure.message.contains(named), "{failure}");
    }
}

#[test]
fn a_second_page_of_the_same_layout_needs_no_more_memory() {
    let page = format!("{GOOD}{}", GOOD.replace("ok", "other"));
    let mut reader = reader();
    let mut out = Reading::default();
    let mut capacities = Vec::new();
    for _ in 0..3 {
        reader
            .read(page.as_bytes(), Format::Text, &mut out)
            .unwrap();
        capacities.push((
            reader.capacities(),
            out.series.capacity(),
            out.bounds.capacity(),
            out.counts.capacity(),
        ));
    }
    assert_eq!(capacities[0], capacities[1]);
    assert_eq!(capacities[1], capacities[2]);
}
