//! Reading pages: `prometheus-parse` on the whole page, our scan of the wanted lines, and the reader that makes a
//! reading of them.
//!
//! `cargo bench -p taffrail-loadtest --bench parse` prints divan's figures with allocations, then a table of ratios.
//! With `-- --check` it prints the table only and fails when the goal is missed. Ratios are measured round by round,
//! each way once in a round, so that a busy machine slows both.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use prometheus_parse::Scrape;
use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use taffrail::exposition::{Event, Format, Limits, PageReader, Want, Wanted, scan};
use taffrail::model::reading::Reading;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// The goal on the page of 1,000 lines: how many times as fast as `prometheus-parse` a page is read.
const GOAL: f64 = 30.0;

/// Rounds of the table: enough for a median that a second run repeats to within a few percent.
const ROUNDS: usize = 15;

/// Least time one way is run for in a round; a single run of ours takes less than a clock resolves well.
const SPAN: Duration = Duration::from_millis(20);

const HISTOGRAM: &str = "http_request_duration_seconds";
const IN_FLIGHT: &str = "http_requests_in_flight";
const CPU: &str = "process_cpu_seconds_total";
const BOUNDS: [&str; 9] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "+Inf",
];

static PAGES: LazyLock<[Page; 3]> = LazyLock::new(|| {
    [
        Page::generate("1,000 lines, 22 % wanted", 1_000, 20),
        Page::generate("10,000 lines, 2 % wanted", 10_000, 20),
        Page::generate("10,000 lines, 38 % wanted", 10_000, 345),
    ]
});

/// A page and its name.
struct Page {
    name: &'static str,
    text: String,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Page {
    /// A page of `lines` lines, of which `series` series of the histogram, two single ones, and the rest nobody wants.
    fn generate(name: &'static str, lines: usize, series: usize) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let mut page = vec![
            format!("# HELP {HISTOGRAM} Time from the request to its answer."),
            format!("# TYPE {HISTOGRAM} histogram"),
        ];
        for nth in 0..series {
            let labels = labels(nth);
            let mut count = 0;
            for bound in BOUNDS {
                count += random.random_range(0..100_000);
                page.push(format!(
                    "{HISTOGRAM}_bucket{{{labels},le=\"{bound}\"}} {count}"
                ));
            }
            let sum = f64::from(count) * random.random_range(0.01..0.2);
            page.push(format!("{HISTOGRAM}_sum{{{labels}}} {sum}"));
            page.push(format!("{HISTOGRAM}_count{{{labels}}} {count}"));
        }
        page.push(format!("# TYPE {IN_FLIGHT} gauge\n{IN_FLIGHT} 17"));
        page.push(format!("# TYPE {CPU} counter\n{CPU} 1234.56"));
        // The two entries above are two lines each.
        for nth in page.len() + 2..lines {
            let family = nth / 40;
            if nth % 40 == 0 {
                page.push(format!("# TYPE http_client_calls_{family}_total counter"));
            } else {
                let (labels, value) = (labels(nth), random.random_range(0.0..1e6));
                page.push(format!(
                    "http_client_calls_{family}_total{{{labels}}} {value}"
                ));
            }
        }
        Self {
            name,
            text: page.join("\n") + "\n",
        }
    }
}

fn labels(nth: usize) -> String {
    let method = ["GET", "POST", "PUT", "DELETE"][nth % 4];
    let code = ["200", "201", "404", "500"][nth / 4 % 4];
    format!(
        "method=\"{method}\",code=\"{code}\",route=\"/api/v1/orders/{}\"",
        nth / 16
    )
}

// === the three ways ===

fn with_prometheus_parse(page: &Page) -> usize {
    let lines = page
        .text
        .lines()
        .map(|line| io::Result::Ok(line.to_owned()));
    Scrape::parse(lines).map_or(0, |scrape| scrape.samples.len())
}

fn with_scan(page: &Page, wanted: &Wanted, limits: &Limits) -> usize {
    let mut samples = 0;
    let outcome = scan(
        page.text.as_bytes(),
        Format::Text,
        wanted,
        limits,
        |event| {
            samples += usize::from(matches!(event, Event::Sample(_)));
            Ok(())
        },
    );
    outcome.map_or(0, |()| samples)
}

fn with_reader(page: &Page, reader: &mut PageReader, out: &mut Reading) -> usize {
    let outcome = reader.read(page.text.as_bytes(), Format::Text, out);
    outcome.map_or(0, |()| out.series.len())
}

fn wanted() -> Wanted {
    Wanted::new(HISTOGRAM, Some(IN_FLIGHT), Some(CPU))
}

/// A reader that has seen the page, so that its memory is there.
fn warm_reader(page: &Page) -> (PageReader, Reading) {
    let want = Want {
        histogram: Some(HISTOGRAM.to_owned()),
        in_flight: Some(IN_FLIGHT.to_owned()),
        cpu: Some(CPU.to_owned()),
        ..Want::default()
    };
    let mut reader = PageReader::new(want, Limits::default());
    let mut out = Reading::default();
    assert!(
        0 < with_reader(page, &mut reader, &mut out),
        "the page must be readable"
    );
    assert_eq!(out.bad_lines, 0);
    (reader, out)
}

#[divan::bench(args = PAGES.iter())]
fn prometheus_parse(bencher: Bencher<'_, '_>, page: &Page) {
    bencher
        .counter(BytesCount::of_str(&page.text))
        .bench_local(|| with_prometheus_parse(black_box(page)));
}

#[divan::bench(args = PAGES.iter())]
fn scan_wanted(bencher: Bencher<'_, '_>, page: &Page) {
    let (wanted, limits) = (wanted(), Limits::default());
    bencher
        .counter(BytesCount::of_str(&page.text))
        .bench_local(|| with_scan(black_box(page), &wanted, &limits));
}

#[divan::bench(args = PAGES.iter())]
fn page_reader(bencher: Bencher<'_, '_>, page: &Page) {
    let (mut reader, mut out) = warm_reader(page);
    bencher
        .counter(BytesCount::of_str(&page.text))
        .bench_local(|| with_reader(black_box(page), &mut reader, &mut out));
}

// === the table of ratios ===

/// Seconds that one run takes, measured over at least [`SPAN`].
fn seconds(mut run: impl FnMut() -> usize) -> f64 {
    let start = taffrail::clock::instant();
    let mut runs = 0.0;
    loop {
        black_box(run());
        runs += 1.0;
        let passed = start.elapsed();
        if SPAN <= passed {
            return passed.as_secs_f64() / runs;
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints one page's line and returns how many times as fast the reader is.
fn compare(page: &Page) -> f64 {
    let (wanted, limits) = (wanted(), Limits::default());
    let (mut reader, mut out) = warm_reader(page);
    let rounds: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|_| {
            [
                seconds(|| with_prometheus_parse(black_box(page))),
                seconds(|| with_scan(black_box(page), &wanted, &limits)),
                seconds(|| with_reader(black_box(page), &mut reader, &mut out)),
            ]
        })
        .collect();
    let megabytes = page.text.len() as f64 / 1e6;
    let speed = |way: usize| median(rounds.iter().map(|round| megabytes / round[way]).collect());
    let ratio = |way: usize| median(rounds.iter().map(|round| round[0] / round[way]).collect());
    println!(
        "{:<26} {:>10.0} {:>10.0} {:>10.0} {:>8.1}x {:>8.1}x",
        page.name,
        speed(0),
        speed(1),
        speed(2),
        ratio(1),
        ratio(2)
    );
    ratio(2)
}

fn main() -> ExitCode {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    if !flag("--check") {
        divan::main();
        // Run as a test or only asked for a list: there is nothing to measure.
        if !flag("--bench") {
            return ExitCode::SUCCESS;
        }
    }
    println!(
        "{:<26} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "median MB/s", "prom-parse", "scan", "reader", "scan", "reader"
    );
    let ratios = PAGES.each_ref().map(compare);
    if flag("--check") && ratios[0] < GOAL {
        eprintln!(
            "the reader is {:.1} times as fast as prometheus-parse, the goal is {GOAL}",
            ratios[0]
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
