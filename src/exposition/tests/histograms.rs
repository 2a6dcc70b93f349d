//! Which histogram a page is read for, and what becomes of its series, buckets and sums.

use super::*;
use crate::model::matcher::Matchers;
use crate::model::unit::Unit;

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
fn milliseconds_come_out_as_seconds_by_name_or_where_the_unit_says_so() {
    let buckets = |bounds: [f64; 3]| bounds.into_iter().zip([1.0, 3.0, 4.0]).collect();
    let seconds: Shape = (buckets([0.1, 0.25, INF]), 4.0, Some(0.9));
    let as_written: Shape = (buckets([100.0, 250.0, INF]), 4.0, Some(900.0));
    for (name, unit, expected) in [
        ("request_duration_milliseconds", None, &seconds),
        ("request_duration_ms", None, &seconds),
        ("request_duration_ms", Some(Unit::Seconds), &as_written),
        ("request_duration", Some(Unit::Milliseconds), &seconds),
        ("request_duration", None, &as_written),
        ("requests_of_rooms", None, &as_written),
    ] {
        let page = format!(
            "# TYPE {name} histogram\n{name}_bucket{{le=\"100\"}} 1\n{name}_bucket{{le=\"250\"}} 3\n\
             {name}_bucket{{le=\"+Inf\"}} 4\n{name}_sum 900\n{name}_count 4\n"
        );
        // Named, and found by itself.
        for histogram in [Some(name.to_owned()), None] {
            let want = Want {
                histogram,
                unit,
                ..Want::default()
            };
            let mut reader = PageReader::new(want, Limits::default());
            // What is remembered of the first page is in the page's own unit.
            for _ in 0..2 {
                let reading = try_read(&mut reader, &page).unwrap();
                let [shape] = &shapes(&reading)[..] else {
                    panic!("one series");
                };
                assert_eq!(shape, expected, "{name} {unit:?}");
            }
        }
    }
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
