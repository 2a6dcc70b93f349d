//! One line, or two that are alike: what is read of it, and what it costs when it cannot be.

use super::super::{Event, Wanted, scan};
use super::*;

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
