//! What one scrape costs us, from the timer to the engine: 50 targets over real sockets, each answering with the page
//! of 1,000 lines, read by the very loops that `taffrail serve` runs.
//!
//! `cargo bench --bench scrape` prints CPU microseconds for each scrape. They are those of the one
//! thread on which everything of ours runs; the targets have threads of their own and are not counted. With
//! `-- --check` it fails when the best round misses the goal: a processor shared with others takes up to twice the time
//! for the same work, and the best round is the one least disturbed.

#[path = "common/pages.rs"]
mod pages;
#[path = "common/rounds.rs"]
mod rounds;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use taffrail::engine::{Engine, ServiceSpec};
use taffrail::exposition::{Format, Limits, PageReader};
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::model::reading::{Batch, Reading, Update};
use taffrail::model::time::Timestamp;
use taffrail::source::reach::Reach;
use taffrail::source::scrape::{Endpoint, ScrapeSpec};
use taffrail::source::secret::SecretStore;
use taffrail::source::{SourceSpec, Sources};
use taffrail_loadtest::clock;
use tokio::sync::mpsc;

use pages::{Page, want};
use rounds::{ROUNDS, cpu_seconds, median};

/// The goal: CPU microseconds of ours for one scrape, until the engine has it.
const GOAL_US: f64 = 300.0;

const TARGETS: usize = 50;

/// A thousand scrapes a second: a busy adapter that still waits now and then, so that waking up is part of the cost.
const INTERVAL: Duration = Duration::from_millis(50);

/// Scrapes in one round.
const SCRAPES: usize = 500;

/// Bytes of a request's head, of which ours has fewer.
const HEAD_BYTES: usize = 4_096;

// === the targets ===

/// Starts a server that answers every request with `page`, each connection on a thread of its own.
fn serve(page: &Page) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
        page.text.len()
    );
    let answer: Arc<[u8]> = (head + &page.text).into_bytes().into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // It ends when the client closes the connection, which is no error here.
            thread::spawn(move || answer_all(stream, &answer));
        }
    });
    Ok(address)
}

fn answer_all(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut head[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if head[..filled].ends_with(b"\r\n\r\n") {
            stream.write_all(answer)?;
            filled = 0;
        }
    }
}

// === our side ===

fn service() -> ServiceId {
    ServiceId::new("shop", "users")
}

fn engine() -> Engine {
    let mut engine = Engine::default();
    engine.configure([ServiceSpec {
        id: service(),
        interval: INTERVAL,
        window: Duration::from_secs(30),
        objective: None,
        has_requests: true,
    }]);
    engine
}

fn source(nth: usize, address: SocketAddr) -> anyhow::Result<SourceSpec> {
    let target = TargetId::new(&service(), &format!("pod-{nth}"));
    let endpoint = Endpoint::parse(&format!("http://{address}/metrics"))?;
    let mut spec = ScrapeSpec::new(target, endpoint, INTERVAL, want());
    // A machine that is busy with something else is no failure of a target.
    spec.timeout = Duration::from_secs(10);
    Ok(SourceSpec::Scrape(spec))
}

/// CPU microseconds of one scrape, in each round.
async fn scrape_us(address: SocketAddr) -> anyhow::Result<Vec<f64>> {
    let (sender, mut updates) = mpsc::channel(TARGETS);
    let mut sources = Sources::new(sender, SecretStore::default(), Reach::anywhere());
    let specs: anyhow::Result<_> = (0..TARGETS).map(|nth| source(nth, address)).collect();
    sources.apply(specs?);
    let mut engine = engine();
    let mut rounds = Vec::with_capacity(ROUNDS);
    // The first round connects and finds out what pages look like; it is not counted.
    for round in 0..=ROUNDS {
        let start = clock::thread_cpu();
        for _ in 0..SCRAPES {
            take(&mut engine, updates.recv().await.context("sources ended")?)?;
        }
        let spent = clock::thread_cpu() - start;
        if 0 < round {
            rounds.push(1e6 * spent.as_secs_f64() / SCRAPES as f64);
        }
    }
    drop(updates);
    sources.shutdown().await;
    Ok(rounds)
}

fn take(engine: &mut Engine, update: Update) -> anyhow::Result<()> {
    match update {
        Update::Read(batch) => {
            let outcome = engine.ingest(&batch);
            // After a delay two reads may fall into one millisecond, of which the engine takes the first.
            ensure!(
                0 < outcome.accepted + outcome.out_of_order,
                "nothing was taken in: {outcome:?}"
            );
            Ok(())
        }
        Update::Failed { failure, .. } => bail!("a scrape failed: {failure}"),
        Update::Begins(target) => {
            bail!("{target} is read for something else, which nobody asked for")
        }
    }
}

/// CPU microseconds from a page in memory to the engine: what remains of a scrape without its HTTP.
fn page_to_engine_us(page: &Page) -> f64 {
    let mut reader = PageReader::new(want(), Limits::default());
    let mut engine = engine();
    let mut at = Timestamp::from_ms(0);
    let mut read_once = || {
        let mut reading = Reading::default();
        let read = reader.read(page.text.as_bytes(), Format::Text, &mut reading);
        assert!(read.is_ok(), "{read:?}");
        at = at + INTERVAL;
        engine.ingest(&Batch {
            target: TargetId::new(&service(), "pod"),
            at,
            took: Duration::ZERO,
            reading,
        })
    };
    1e6 * median((0..ROUNDS).map(|_| cpu_seconds(&mut read_once)))
}

fn main() -> anyhow::Result<ExitCode> {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    // Run as a test: there is nothing to measure.
    if !flag("--bench") {
        return Ok(ExitCode::SUCCESS);
    }
    let page = Page::of_1000_lines();
    let address = serve(&page)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rounds = runtime.block_on(scrape_us(address))?;
    let best = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "a scrape of {} bytes, from the timer to the engine: {:.0} us of CPU (median of {ROUNDS} rounds; best {best:.0}, goal {GOAL_US})",
        page.text.len(),
        median(rounds)
    );
    println!(
        "of which from the page to the engine: {:.0} us",
        page_to_engine_us(&page)
    );
    if flag("--check") && GOAL_US < best {
        eprintln!("a scrape costs {best:.0} us, the goal is {GOAL_US}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
