//! Scraping over real sockets, from servers that behave and servers that do not.

mod faults;
mod loops;
mod secrets;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use taffrail::exposition::{Format, Want};
use taffrail::model::health::Failure;
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::source::scrape::{Endpoint, Fetcher, ScrapeSpec, Shared};

use crate::fixtures::rogue::{self, Rogue};

const PAGE: &str = "\
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le=\"0.1\"} 3
http_request_duration_seconds_bucket{le=\"+Inf\"} 4
http_request_duration_seconds_sum 0.5
http_request_duration_seconds_count 4
";

/// Within this everything that is going to happen has happened, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(20);

fn target(name: &str) -> TargetId {
    TargetId::new(&ServiceId::new("shop", "api"), name)
}

/// The page of a server on this machine, read often and patiently.
fn spec(port: u16) -> ScrapeSpec {
    spec_of(&format!("http://127.0.0.1:{port}/metrics"))
}

fn spec_of(url: &str) -> ScrapeSpec {
    let endpoint = Endpoint::parse(url).unwrap();
    let interval = Duration::from_millis(20);
    ScrapeSpec {
        timeout: PATIENCE,
        ..ScrapeSpec::new(target(url), endpoint, interval, Want::default())
    }
}

fn fetcher(spec: ScrapeSpec) -> Fetcher {
    Fetcher::new(spec, Arc::new(Shared::default()))
}

/// One page, as text.
async fn fetch(spec: ScrapeSpec) -> Result<String, Failure> {
    fetch_again(&mut fetcher(spec)).await
}

async fn fetch_again(fetcher: &mut Fetcher) -> Result<String, Failure> {
    let page = fetcher.fetch().await?;
    Ok(String::from_utf8(page.bytes.clone()).unwrap())
}

async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let wait = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, wait).await.is_ok(),
        "did not happen: {what}"
    );
}

#[tokio::test]
async fn a_page_of_either_format_arrives_as_it_was_sent() {
    for (content_type, format) in [
        ("text/plain; version=0.0.4; charset=utf-8", Format::Text),
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics,
        ),
    ] {
        let headers = format!("Content-Type: {content_type}\r\n");
        let server = Rogue::answering(move |_, _| rogue::answer("200 OK", &headers, PAGE)).await;
        let mut fetcher = fetcher(spec(server.port));
        let page = fetcher.fetch().await.unwrap();
        assert_eq!(page.bytes, PAGE.as_bytes());
        assert_eq!(page.format, format);
    }
}

#[tokio::test]
async fn a_request_carries_the_path_and_the_headers_exporters_look_at() {
    let server = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let port = server.port;
    let spec = spec_of(&format!("http://127.0.0.1:{port}/probe?module=a%20b"));
    fetch(spec).await.unwrap();
    let head = server.requests()[0].to_lowercase();
    for line in [
        "get /probe?module=a%20b http/1.1\r\n",
        &format!("\r\nhost: 127.0.0.1:{port}\r\n"),
        "\r\naccept: application/openmetrics-text",
        "\r\naccept-encoding: identity\r\n",
        "\r\nuser-agent: taffrail/",
        "\r\nx-prometheus-scrape-timeout-seconds: 20\r\n",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head:?}");
    }
}

#[tokio::test]
async fn a_page_may_come_in_chunks_or_end_with_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nup 1\n\r\n7;x=y\r\ndown 0\n\r\n0\r\n\r\n";
    let server = Rogue::answering(move |_, _| chunked.into()).await;
    assert_eq!(fetch(spec(server.port)).await.unwrap(), "up 1\ndown 0\n");

    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.0 200 OK\r\n\r\nup 1\n").await;
    })
    .await;
    let mut fetcher = fetcher(spec(server.port));
    for _ in 0..2 {
        assert_eq!(fetch_again(&mut fetcher).await.unwrap(), "up 1\n");
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn one_connection_and_one_buffer_carry_many_scrapes() {
    let server = Rogue::answering(|_, nth| rogue::page(format!("scrapes_total {nth}\n"))).await;
    let shared = Arc::new(Shared::default());
    let mut fetcher = Fetcher::new(spec(server.port), Arc::clone(&shared));
    for nth in 0..20 {
        let page = fetch_again(&mut fetcher).await.unwrap();
        assert_eq!(page, format!("scrapes_total {nth}\n"));
    }
    assert_eq!(server.connections(), 1);
    assert!(0 < shared.idle_bytes() && shared.idle_bytes() < 4096);
}

#[tokio::test]
async fn a_packed_page_is_asked_for_only_when_wanted_and_unpacked() {
    let server = Rogue::answering(|head, _| {
        assert!(head.to_lowercase().contains("accept-encoding: gzip\r\n"));
        // Two members, as a server that flushes in between may send.
        let packed = [gzip(b"up 1\n"), gzip(b"down 0\n")].concat();
        rogue::answer("200 OK", "Content-Encoding: gzip\r\n", packed)
    })
    .await;
    let packed = ScrapeSpec {
        gzip: true,
        ..spec(server.port)
    };
    assert_eq!(fetch(packed).await.unwrap(), "up 1\ndown 0\n");
}

fn gzip(page: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(page).unwrap();
    encoder.finish().unwrap()
}
