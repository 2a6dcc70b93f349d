//! What is asked, and what counts as a good answer.

use http::Method;

use super::witness::Witness;
use super::*;

fn kinds() -> Vec<RequestKind> {
    let buy = RequestKind {
        name: "buy".to_owned(),
        weight: 3,
        method: Method::POST,
        body: Some(Template::new("{\"sku\": {{seq}}}")),
        headers: [(
            http::HeaderName::from_static("x-auth-token"),
            HeaderValue::from_static("secret"),
        )]
        .into_iter()
        .collect(),
        ..RequestKind::get(Path::new("/buy").unwrap())
    };
    let show = RequestKind {
        name: "show".to_owned(),
        expect_body: Some("this is /items/".to_owned()),
        ..RequestKind::get(Path::new("/items/{{seq}}").unwrap())
    };
    vec![buy, show]
}

#[tokio::test]
async fn kinds_are_sent_by_weight_each_request_with_its_number_and_every_run_alike() {
    let mut runs = Vec::new();
    for threads in [1, 2] {
        let server = Witness::start().await;
        let config = Config {
            requests: kinds(),
            threads: NonZeroUsize::new(threads),
            seed: 5,
            ..config()
        };
        let measured = run(config, "200@1s", vec![server.address]).await;
        assert_eq!(measured.counts.ok, 200, "{:?}", measured.counts);
        let mut seen: Vec<_> = server
            .seen()
            .into_iter()
            .map(|request| (request.method, request.path, request.token, request.body))
            .collect();
        seen.sort_by_key(|(_, path, _, body)| format!("{path} {body}"));
        let bought = seen.iter().filter(|(method, ..)| *method == Method::POST);
        let bought = bought.count() as u64;
        assert_eq!(measured.requests["buy"].counts.ok, bought);
        assert_eq!(measured.requests["show"].latency.count(), 200 - bought);
        assert!(
            (130..=170).contains(&bought),
            "{bought} of 200 were to be about 150"
        );
        runs.push(seen);
    }
    assert_eq!(runs[0], runs[1]);
    // Every number is there once, in one of the two places.
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let mut numbers: Vec<u64> = runs[0]
        .iter()
        .map(|(_, path, _, body)| digits(&format!("{path}{body}")).parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<u64>>());
    let tokens = runs[0].iter().filter(|(_, _, token, _)| token == "secret");
    assert_eq!(
        tokens.count(),
        runs[0]
            .iter()
            .filter(|(method, ..)| *method == Method::POST)
            .count()
    );
}

#[tokio::test]
async fn a_whole_answer_that_is_not_the_expected_one_fails() {
    let server = Witness::start().await;
    let asking = |path, body: Option<&str>, expect: &[u16]| {
        let kind = RequestKind {
            expect_body: body.map(str::to_owned),
            ..RequestKind::get(Path::new(path).unwrap())
        };
        let status = |code: &u16| StatusCode::from_u16(*code).unwrap();
        Config {
            requests: vec![kind],
            expect: expect.iter().map(status).collect(),
            ..config()
        }
    };
    let cases = [
        (asking("/nothing", None, &[]), 10),
        (asking("/nothing", None, &[200]), 0),
        (asking("/nothing", None, &[200, 204]), 10),
        (asking("/here", Some("is /here"), &[200]), 10),
        (asking("/here", Some("is /there"), &[]), 0),
    ];
    for (config, ok) in cases {
        let wanted = format!("{:?} {:?}", config.requests[0].path, config.expect);
        let measured = run(config, "100@100ms", vec![server.address]).await;
        let unexpected = measured.counts.errors_of(ErrorClass::Unexpected);
        assert_eq!((measured.counts.ok, unexpected), (ok, 10 - ok), "{wanted}");
        assert_eq!(measured.latency.count(), ok);
    }
    // An unexpected answer is whole, so its connection is used again.
    assert!(server.by_connection().len() < 50);
}
