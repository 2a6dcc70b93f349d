//! Pages in, readings out: the faults of real pages one by one.

use super::{Event, Format, Limits, PageReader, Want, Wanted, scan};
use crate::model::health::{Failure, FailureReason};
use crate::model::matcher::Matchers;
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
fn legal_lines_that_are_often_damaged_are_read_verbatim() {
    for labels in [
        r#"x="1,2",y="3""#,
        r#"x="k=v",y="3""#,
        r#"x="1", y="2""#,
        r#"path="/o/{id}""#,
        r#"path="/x,le=9999""#,
        r#"path="/x,pod=other",code="200""#,
        r#"q="a\"b\\c\nd""#,
        r#"q="x # {y} 1""#,
        "\tx = \"1\" ,",
        r#""my.label"="1""#,
        r#"x="ü€😀""#,
    ] {
        let labels = labels.trim_end_matches(',');
        let page = format!(
            "h_bucket{{{labels},le=\"0.1\"}} 1\nh_bucket {{ le = \"+Inf\", {labels}, }}\t2\r\nh_sum{{{labels}}} 0.5 1700000000000\n  h_count{{{labels}}} 2"
        );
        assert_eq!(
            beside_good(&page),
            (vec![(vec![(0.1, 1.0), (INF, 2.0)], 2.0, Some(0.5))], 0),
            "{labels}"
        );
    }
}

#[test]
fn values_with_separators_keep_series_apart() {
    let reading = read(
        "h_bucket{x=\"k=v\",le=\"+Inf\"} 1\nh_bucket{x=\"k=w\",le=\"+Inf\"} 2\nh_bucket{x=\"a,b\",le=\"+Inf\"} 3\n\
         h_bucket{x=\"a\",b=\"\",le=\"+Inf\"} 4\nh_bucket{le=\"+Inf\"} 5\nh_bucket{le=\"+Inf\",} 5\n",
    );
    let counts: Vec<f64> = reading.series.iter().map(|series| series.count).collect();
    assert_eq!(counts, [1.0, 2.0, 3.0, 4.0, 5.0]);
    // The last line repeats the one before it.
    assert_eq!(reading.bad_lines, 1);
}

#[test]
fn a_family_name_that_begins_like_the_wanted_one_is_another_family() {
    let (others, bad) = beside_good(
        "h_bucket_size{x=\"1\"} 7\nh_buckets 1\nh_created 1.7e9\nhh_count 3\nh_count:rate5m 2\nh{x=\"1\"} 4\nh_gcount 1",
    );
    assert_eq!((others, bad), (vec![], 0));
}

#[test]
fn a_broken_line_costs_its_series_and_is_counted() {
    for broken in [
        r#"h_bucket{a="1",le="0.5"} wtf"#,
        r#"h_bucket{a="1",le="0.5"}"#,
        r#"h_bucket{a="1",le="0.5"} 1_0"#,
        r#"h_bucket{a="1",le="0.5"} 0x10"#,
        r#"h_bucket{a="1",le="0.5"} 1e400"#,
        r#"h_bucket{a="1",le="0.5"} 1 soon"#,
        r#"h_bucket{a="1",le="0.5"} 1 1.5"#,
        r#"h_bucket{a="1",le="0.5"} 1 1700000000000 # {x="y"} 1"#,
        r#"h_bucket{a="1",le="0.5"} NaN"#,
        r#"h_bucket{a="1",le="0.5"} -1"#,
        r#"h_bucket{a="1",le="0.5"} +Inf"#,
        r#"h_bucket{a="1",le="NaN"} 1"#,
        r#"h_bucket{a="1",le="-Inf"} 1"#,
        r#"h_bucket{a="1",le="x"} 1"#,
        r#"h_bucket{a="1",le=""} 1"#,
        r#"h_bucket{a="1"} 1"#,
        r#"h_count{a="1"} NaN"#,
        r#"h_count{a="1"} -2"#,
        r#"h_sum{a="1"} x"#,
    ] {
        let lines =
            format!("h_bucket{{a=\"1\",le=\"1\"}} 1\n{broken}\nh_bucket{{a=\"1\",le=\"+Inf\"}} 2");
        assert_eq!(beside_good(&lines), (vec![], 1), "{broken}");
    }
}

#[test]
fn a_line_without_readable_labels_costs_the_series_that_became_shorter() {
    let page = |line: &str| {
        format!("{GOOD}h_bucket{{a=\"1\",le=\"1\"}} 1\n{line}\nh_bucket{{a=\"1\",le=\"+Inf\"}} 2\n")
    };
    let whole = page(r#"h_bucket{a="1",le="2"} 1"#);
    for broken in [
        r#"h_bucket{a="1",le="2" 1"#,
        r#"h_bucket{a="1",le="2} 1"#,
        r#"h_bucket{a="1",a="1",le="2"} 1"#,
        r#"h_bucket{a=1,le="2"} 1"#,
        r#"{"h_bucket",a="1",le="2} 1"#,
        "h_bucket+2",
    ] {
        let mut reader = reader();
        let first = try_read(&mut reader, &page(broken)).unwrap();
        assert_eq!((first.series.len(), first.bad_lines), (2, 1), "{broken}");
        assert_eq!(try_read(&mut reader, &whole).unwrap().series.len(), 2);
        for _ in 0..2 {
            let shorter = try_read(&mut reader, &page(broken)).unwrap();
            assert_eq!(shapes(&shorter), [good()], "{broken}");
            assert_eq!(shorter.bad_lines, 1, "{broken}");
        }
        assert_eq!(try_read(&mut reader, &whole).unwrap().series.len(), 2);
    }
}

#[test]
fn invalid_utf8_costs_a_wanted_line_and_nothing_elsewhere() {
    let mut page = format!("{GOOD}other{{x=\"").into_bytes();
    page.extend(b"\xff\"} 1\n");
    let mut out = Reading::default();
    reader().read(&page, Format::Text, &mut out).unwrap();
    assert_eq!((shapes(&out), out.bad_lines), (vec![good()], 0));
    page.extend(b"h_sum{x=\"\xff\"} 1\n");
    reader().read(&page, Format::Text, &mut out).unwrap();
    assert_eq!((shapes(&out), out.bad_lines), (vec![good()], 1));
}

#[test]
fn when_no_series_is_left_the_page_fails_and_says_what_the_first_lacks() {
    for (kind, lines, lacks) in [
        (
            "histogram",
            "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} x",
            "the first has a broken line",
        ),
        (
            "histogram",
            "h_bucket{le=\"1} 1",
            "a line has broken labels",
        ),
        (
            "histogram",
            "h_sum 1\nh_count 2",
            "the first has no _bucket",
        ),
        (
            "histogram",
            "h_bucket{le=\"1\"} 1",
            "the first has neither a +Inf bucket nor a _count",
        ),
        ("summary", "h_sum 1", "the first has no _count"),
        (
            "histogram",
            "h_count{a=\"1\"} 2\nh_bucket{a=\"2\",le=\"1\"} x",
            "the first has no _bucket",
        ),
    ] {
        let failure = failure(&format!("# TYPE h {kind}\n{lines}\n"), Format::Text);
        assert_eq!(failure.reason, FailureReason::Malformed, "{lines}");
        let expected = format!("no series of the {kind} could be read: {lacks}");
        assert_eq!(failure.message, expected, "{lines}");
    }
}

#[test]
fn buckets_are_sorted_completed_and_merged_by_the_stated_rules() {
    let bucket = |le: &str, count: &str| format!("h_bucket{{a=\"1\",le=\"{le}\"}} {count}\n");
    let count = "h_count{a=\"1\"} 9\n";
    for (what, lines, expected, bad) in [
        (
            "unsorted",
            bucket("+Inf", "3") + &bucket("0.1", "1") + &bucket("-1", "0"),
            Some((vec![(-1.0, 0.0), (0.1, 1.0), (INF, 3.0)], 3.0)),
            0,
        ),
        (
            "one bound in two spellings",
            bucket("0.1", "1") + &bucket("0.10", "2") + &bucket("+Inf", "3") + &bucket("Inf", "1"),
            Some((vec![(0.1, 3.0), (INF, 4.0)], 4.0)),
            0,
        ),
        (
            "the same bucket twice",
            bucket("0.1", "1") + &bucket("+Inf", "3") + &bucket("0.1", "2") + &bucket("+Inf", "4"),
            Some((vec![(0.1, 1.0), (INF, 3.0)], 3.0)),
            2,
        ),
        (
            "the same bucket twice, indented",
            "  ".to_owned()
                + &bucket("0.1", "1")
                + "\t"
                + &bucket("0.1", "2")
                + &bucket("+Inf", "3"),
            Some((vec![(0.1, 1.0), (INF, 3.0)], 3.0)),
            1,
        ),
        (
            "two spellings, one of them twice",
            bucket("0.1", "1") + &bucket("0.10", "2") + &bucket("0.1", "4") + &bucket("+Inf", "9"),
            Some((vec![(0.1, 3.0), (INF, 9.0)], 9.0)),
            1,
        ),
        (
            "no +Inf but a count",
            bucket("0.1", "1") + count,
            Some((vec![(0.1, 1.0), (INF, 9.0)], 9.0)),
            0,
        ),
        ("no +Inf and no count", bucket("0.1", "1"), None, 1),
        ("a histogram without buckets", count.to_owned(), None, 1),
        (
            "falling counts stay for the engine to mend",
            bucket("0.1", "5") + &bucket("1", "4") + &bucket("+Inf", "6"),
            Some((vec![(0.1, 5.0), (1.0, 4.0), (INF, 6.0)], 6.0)),
            0,
        ),
        (
            "the first count holds",
            bucket("+Inf", "9") + count + "h_count{a=\"1\"} 10\n",
            Some((vec![(INF, 9.0)], 9.0)),
            1,
        ),
    ] {
        let expected: Vec<Shape> = expected
            .into_iter()
            .map(|(buckets, count)| (buckets, count, None))
            .collect();
        assert_eq!(beside_good(&lines), (expected, bad), "{what}");
    }
}

#[test]
fn a_sum_that_is_no_number_is_absent_and_the_first_one_holds() {
    for (sum, expected, bad) in [
        ("NaN", None, 0),
        ("+Inf", None, 0),
        ("-3", None, 0),
        ("-0", Some(0.0), 0),
        ("7\nh_sum{a=\"1\"} 8", Some(7.0), 1),
    ] {
        let lines = format!("h_bucket{{a=\"1\",le=\"+Inf\"}} 2\nh_sum{{a=\"1\"}} {sum}");
        assert_eq!(
            beside_good(&lines),
            (vec![(vec![(INF, 2.0)], 2.0, expected)], bad),
            "{sum}"
        );
    }
}

#[test]
fn a_summary_has_a_count_and_a_sum_but_no_buckets() {
    for declared in ["# TYPE h summary\n", "", "# TYPE h untyped\n"] {
        let page = format!("{declared}h{{quantile=\"0.5\"}} 0.2\nh_sum 3.5\nh_count 7\n");
        assert_eq!(
            shapes(&read(&page)),
            [(vec![], 7.0, Some(3.5))],
            "{declared}"
        );
    }
}

#[test]
fn a_type_declared_twice_is_counted_and_the_first_holds() {
    let reading = read(&format!("# TYPE h histogram\n# TYPE h counter\n{GOOD}"));
    assert_eq!((shapes(&reading), reading.bad_lines), (vec![good()], 1));
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
fn a_broken_exemplar_costs_its_series() {
    for exemplar in [
        "#{} 1",
        "# {",
        "# {} x",
        "# {}",
        "# {} 1 x",
        "# {} 1 2 3",
        "# x",
        "x",
    ] {
        let page = format!("{GOOD}h_bucket{{le=\"+Inf\"}} 2 {exemplar}\n# EOF");
        let mut out = Reading::default();
        reader()
            .read(page.as_bytes(), Format::OpenMetrics, &mut out)
            .unwrap();
        assert_eq!(
            (shapes(&out), out.bad_lines),
            (vec![good()], 1),
            "{exemplar}"
        );
    }
}

#[test]
fn quoted_names_are_read() {
    let want = Want {
        histogram: Some("my.hist".to_owned()),
        ..Want::default()
    };
    let page = "# TYPE \"my.hist\" histogram\n{\"my.hist_bucket\", x=\"1\", le=\"0.1\"} 1\n\
                {x=\"1\",\"my.hist_bucket\",le=\"+Inf\"} 2\n{\"my.hist_sum\",x=\"1\"} 0.5\n{\"other\",x=\"1} 2\n";
    let mut reader = PageReader::new(want, Limits::default());
    let reading = try_read(&mut reader, page).unwrap();
    assert_eq!(
        shapes(&reading),
        [(vec![(0.1, 1.0), (INF, 2.0)], 2.0, Some(0.5))]
    );
    assert_eq!(reading.bad_lines, 0);
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
fn matchers_choose_series_and_spare_the_rest() {
    let want = Want {
        matchers: Matchers::parse(r#"route!="/healthz", q!="a\"b""#).unwrap(),
        ..want()
    };
    let mut reader = PageReader::new(want, Limits::default());
    let reading = try_read(
        &mut reader,
        "h_bucket{route=\"/healthz\",le=\"+Inf\"} x\nh_bucket{route=\"/healthz\",le=\"+Inf\"} NaN\n\
         h_bucket{q=\"a\\\"b\",le=\"+Inf\"} 5\nh_bucket{route=\"/\",le=\"+Inf\"} 7\nbusy 2\n",
    )
    .unwrap();
    assert_eq!(shapes(&reading), [(vec![(INF, 7.0)], 7.0, None)]);
    assert_eq!((reading.bad_lines, reading.in_flight), (0, Some(2.0)));
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

fn histogram(name: &str) -> String {
    format!("# TYPE {name} histogram\n{name}_bucket{{le=\"+Inf\"}} 4\n")
}

#[test]
fn the_only_histogram_is_found_by_itself() {
    let mut reader = PageReader::new(Want::default(), Limits::default());
    let mut failure = |page: &str| try_read(&mut reader, page).unwrap_err();
    let none = failure("# TYPE x counter\nx 1\n");
    assert_eq!(none.reason, FailureReason::NotFound);
    assert!(none.message.contains("no histogram"), "{none}");
    let three = histogram("a") + &histogram("b") + &histogram("c") + "# TYPE a histogram\n";
    assert_eq!(
        failure(&three).message,
        "the page has 3 histograms: a, b, c; name one in spec.source.pods.histogram"
    );
    let many: String = (0..200).map(|nth| histogram(&format!("h{nth}"))).collect();
    assert!(
        failure(&many)
            .message
            .contains("h0, h1, h2, h3, h4 and 195 more")
    );
    assert_eq!(failure("<html>\n").reason, FailureReason::Malformed);
    assert_eq!(failure("").reason, FailureReason::Malformed);

    let series = |reading: Reading| reading.series.len();
    assert_eq!(try_read(&mut reader, &histogram("b")).map(series), Ok(1));
    // What is found does not depend on which page came first: another that joins it makes two, one that replaces it
    // is found in its stead, and those of runtimes are never meant.
    let joined = histogram("a") + &histogram("b");
    for _ in 0..2 {
        assert_eq!(
            try_read(&mut reader, &joined).unwrap_err().reason,
            FailureReason::NotFound
        );
        assert_eq!(try_read(&mut reader, &histogram("c")).map(series), Ok(1));
    }
    let runtime = histogram("go_gc_pauses_seconds");
    assert_eq!(
        try_read(&mut reader, &runtime).unwrap_err().reason,
        FailureReason::NotFound
    );
    let both = runtime + &histogram("b");
    assert_eq!(try_read(&mut reader, &both).map(series), Ok(1));
}

#[test]
fn an_absent_histogram_is_a_failure_and_one_without_series_is_not() {
    let empty = read("# TYPE h histogram\n");
    let nothing = Reading {
        missing: Missing {
            in_flight: true,
            cpu: true,
        },
        ..Reading::default()
    };
    assert_eq!(empty, nothing);
    assert_eq!(
        failure("# TYPE h untyped\n", Format::Text).reason,
        FailureReason::NotFound
    );
    assert_eq!(
        failure("# TYPE h counter\nh_total 1\n", Format::Text).message,
        "h is a counter on this page; spec.source.pods.histogram must name a histogram or summary"
    );
    let want = Want {
        histogram: Some("request_seconds".to_owned()),
        ..Want::default()
    };
    let mut reader = PageReader::new(want, Limits::default());
    for (page, hint) in [
        ("x 1\n".to_owned(), "it has none at all (yet)"),
        (histogram("db"), "it has db"),
        (
            histogram("db") + &histogram("requests_seconds"),
            "did you mean requests_seconds?",
        ),
    ] {
        assert_eq!(
            try_read(&mut reader, &page).unwrap_err().message,
            format!("the page has no histogram request_seconds; {hint}")
        );
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

#[test]
fn a_line_is_not_mistaken_for_the_one_before_it() {
    // Pairs in which the second line begins as the first one does, or lacks what the first one has.
    let lines = [
        "h_bucket{a=\"1\",le=\"1\"} 1",
        "h_bucket{a=\"1\",le=\"+Inf\"} 2",
        "h_bucket{le=\"1\"} 3",
        "h_bucket{le=\"+Inf\"} 4",
        "h_count 5",
        "h_sum 6",
        "h_count{a=\"1\"} 7",
        "h_sum{a=\"1\"} 8",
        "h_buckets{a=\"1\",le=\"1\"} 9",
        "  h_bucket {a=\"1\",le=\"2\"} 10",
        "busy 11",
        "busy{} 12",
    ];
    let visited = |page: &str| {
        let mut samples = Vec::new();
        let wanted = Wanted::new("h", Some("busy"), None);
        let limits = Limits::default();
        scan(page.as_bytes(), Format::Text, &wanted, &limits, |event| {
            let Event::Sample(line) = event else {
                panic!("{event:?}");
            };
            let labels: Vec<String> = line
                .labels
                .iter()
                .map(|label| format!("{}={}", label.name.text(), label.value.text()))
                .collect();
            samples.push((line.role, line.part, labels, line.value.to_string()));
            Ok(())
        })
        .unwrap();
        samples
    };
    for first in lines {
        for second in lines {
            let apart = [
                visited(&format!("{first}\n")),
                visited(&format!("{second}\n")),
            ]
            .concat();
            assert_eq!(
                visited(&format!("{first}\n{second}\n")),
                apart,
                "{first}\n{second}"
            );
        }
    }
}
