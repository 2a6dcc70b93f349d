//! Reading pages: `prometheus-parse` on the whole page, our scan of the wanted lines, and the reader that makes a
//! reading of them.
//!
//! `cargo bench --bench parse` prints divan's figures with allocations, then a table of ratios.
//! With `-- --check` it prints the table only and fails when the goal is missed on any page. Ratios are measured round
//! by round in CPU time, each way once in a round, so that a busy machine slows both.

#[path = "common/pages.rs"]
mod pages;
#[path = "common/rounds.rs"]
mod rounds;

use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher};
use prometheus_parse::Scrape;
use taffrail::exposition::{Event, Format, Limits, PageReader, Wanted, scan};
use taffrail::model::reading::Reading;

use pages::{CPU, HISTOGRAM, IN_FLIGHT, Page, want};
use rounds::{ROUNDS, cpu_seconds, median};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// The goal on every page: how many times as fast as `prometheus-parse` it is read.
const GOAL: f64 = 30.0;

static PAGES: LazyLock<[Page; 3]> = LazyLock::new(|| {
    [
        Page::of_1000_lines(),
        Page::generate("10,000 lines, 2 % wanted", 10_000, 20),
        Page::generate("10,000 lines, 38 % wanted", 10_000, 345),
    ]
});

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
    let mut reader = PageReader::new(want(), Limits::default());
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

/// Prints one page's line and returns how many times as fast the reader is.
fn compare(page: &Page) -> f64 {
    let (wanted, limits) = (wanted(), Limits::default());
    let (mut reader, mut out) = warm_reader(page);
    let rounds: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|_| {
            [
                cpu_seconds(|| with_prometheus_parse(black_box(page))),
                cpu_seconds(|| with_scan(black_box(page), &wanted, &limits)),
                cpu_seconds(|| with_reader(black_box(page), &mut reader, &mut out)),
            ]
        })
        .collect();
    let megabytes = page.text.len() as f64 / 1e6;
    let speed = |way: usize| median(rounds.iter().map(|round| megabytes / round[way]));
    let ratio = |way: usize| median(rounds.iter().map(|round| round[0] / round[way]));
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
    let mut verdict = ExitCode::SUCCESS;
    for (page, ratio) in PAGES.iter().zip(ratios) {
        if flag("--check") && ratio < GOAL {
            eprintln!("{page}: {ratio:.1} times as fast as prometheus-parse, the goal is {GOAL}");
            verdict = ExitCode::FAILURE;
        }
    }
    verdict
}
