//! A configuration that changes, breaks or vanishes while the program runs.

use super::{address, document, document_with, is_rate_of, page, read_of, steady_target};
use crate::fixtures::adapter::{Adapter, eventually};
use crate::fixtures::rogue::{self, Rogue};

#[tokio::test]
async fn a_new_target_a_changed_window_and_a_removed_document_count_without_a_restart() {
    let (first, second, other) = (
        steady_target().await,
        steady_target().await,
        steady_target().await,
    );
    let both = document("users", &[address(&first)]) + &document("invoices", &[address(&other)]);
    let adapter = Adapter::serving(&both).await;
    let users = read_of("request_rate", "service=users");
    let invoices = read_of("request_rate", "service=invoices");
    adapter.wait_for_value(&users, is_rate_of(1)).await;
    adapter.wait_for_value(&invoices, is_rate_of(1)).await;

    let targets = [address(&first), address(&second)];
    adapter.configure(&document_with("users", &targets, "", "3s"));
    adapter.wait_for_value(&users, is_rate_of(2)).await;
    let answer = adapter.get(&users).await.json();
    assert_eq!(answer["items"][0]["window"], 3);
    adapter
        .wait_for_refusal(&invoices, 404, "selects nothing")
        .await;
    // What is gone is not read any more, nor spoken of.
    let reads = other.requests().len();
    let own = adapter.get_plain("/metrics").await.body;
    assert!(!own.contains("invoices"), "{own}");
    adapter.wait_for_value(&users, is_rate_of(2)).await;
    assert_eq!(other.requests().len(), reads);
}

#[tokio::test]
async fn a_broken_document_keeps_its_previous_version_and_the_others_go_on() {
    let (target, other) = (steady_target().await, steady_target().await);
    let users = document("users", &[address(&target)]);
    let adapter =
        Adapter::serving(&(users.clone() + &document("invoices", &[address(&other)]))).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    let broken = users.replace("window: 2s", "window: soon");
    let changed = document_with("invoices", &[address(&other)], "", "3s");
    adapter.configure(&(changed + &broken));
    // The second document's line: 9 lines of the first, then the 7th.
    let line = adapter.logged(&["A document is wrong"]).await;
    for words in [
        "config.yaml",
        "line 16:",
        "shop/users",
        "spec.window",
        "soon",
    ] {
        assert!(line.contains(words), "no {words} in {line}");
    }
    adapter
        .logged(&["Its previous version stays", "shop/users"])
        .await;
    adapter
        .wait_for_own(r#"taffrail_config_reloads_total{result="failure"}"#, 1.0)
        .await;
    let window = eventually(async || {
        let answer = adapter
            .get(&read_of("request_rate", "service=invoices"))
            .await;
        (answer.json()["items"][0]["window"] == 3).then_some(())
    });
    assert!(window.await.is_some(), "{}", adapter.log());
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    adapter.configure(&users);
    adapter
        .wait_for_own(r#"taffrail_config_reloads_total{result="success"}"#, 2.0)
        .await;
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
}

#[tokio::test]
async fn the_last_configuration_stays_when_its_file_vanishes() {
    let target = steady_target().await;
    let documents = document("users", &[address(&target)]);
    let adapter = Adapter::serving(&documents).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    std::fs::remove_file(adapter.config_file()).unwrap();
    adapter
        .logged(&["the last one stays in force", "config.yaml"])
        .await;
    adapter
        .wait_for_own(r#"taffrail_config_reloads_total{result="failure"}"#, 1.0)
        .await;
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    adapter.configure(&documents);
    adapter.logged(&["can be read again"]).await;
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
}

#[tokio::test]
async fn another_histogram_of_the_same_page_is_no_jump_of_the_first() {
    // The second has counted a hundred million requests more, under the same labels and bounds.
    let target = Rogue::answering(|_, nth| {
        rogue::page(page("a_seconds", 0, nth) + &page("b_seconds", 1_000_000, nth))
    })
    .await;
    let reading = |histogram: &str| {
        let histogram = format!("histogram: {histogram}");
        document_with("users", &[address(&target)], &histogram, "2s")
    };
    let adapter = Adapter::serving(&reading("a_seconds")).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    adapter.configure(&reading("b_seconds"));
    adapter
        .wait_for_own(r#"taffrail_config_reloads_total{result="success"}"#, 2.0)
        .await;
    // For more than a window, whatever is served is the first's own rate or the second's, never their difference.
    let reads = target.requests().len() + 15;
    let over = eventually(async || {
        if let Ok(values) = adapter.read(&rate).await {
            assert!(values.iter().all(|rate| *rate < 10_000.0), "{values:?}");
        }
        (reads <= target.requests().len()).then_some(())
    });
    assert!(over.await.is_some(), "{}", adapter.log());
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
}
