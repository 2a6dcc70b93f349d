//! One read of an external metric, as the HPA controller does it: the same path, the same selector, one try, and the sum
//! of what comes back.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use tokio::time::timeout;

use super::quantity::number;

/// What a read may take. An adapter answers within milliseconds; one that does not is as good as away.
const READ_MAX: Duration = Duration::from_secs(10);

/// The group of external metrics, which is also what RBAC calls it.
pub(super) const GROUP: &str = "external.metrics.k8s.io";

/// A value, and how old it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) value: f64,
    pub(super) age_s: Option<f64>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    value: Quantity,
    timestamp: Option<Timestamp>,
}

/// Reads it; `now` is asked for the time since the Unix epoch once the answer is there. In place of a value, what was
/// said.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
    selector: &str,
    now: impl FnOnce() -> Duration,
) -> Result<Value, String> {
    let path = format!(
        "/apis/{GROUP}/v1beta1/namespaces/{namespace}/{}",
        escaped(name)
    );
    let mut params = ListParams::default();
    if !selector.is_empty() {
        params = params.labels(selector);
    }
    let request = Request::new(path).list(&params);
    let request = request.map_err(|error| format!("the metric cannot be asked for: {error}"))?;
    match timeout(READ_MAX, client.request::<List>(request)).await {
        Ok(Ok(list)) => value(&list, now()),
        Ok(Err(kube::Error::Api(status))) => Err(format!("{}: {}", status.code, status.message)),
        Ok(Err(kube::Error::SerdeError(_))) => {
            Err("the answer is no list of metric values".to_owned())
        }
        Ok(Err(_)) => Err("the API server does not answer".to_owned()),
        Err(_) => Err(format!("no answer within {READ_MAX:?}")),
    }
}

/// The sum of the items, as old as the oldest.
fn value(list: &List, now: Duration) -> Result<Value, String> {
    if list.items.is_empty() {
        return Err("no metrics returned".to_owned());
    }
    let values: Option<Vec<f64>> = list.items.iter().map(|item| number(&item.value)).collect();
    let values = values.ok_or("a value is no quantity")?;
    let oldest = list.items.iter().filter_map(|item| item.timestamp).min();
    let age = |timestamp: Timestamp| now.as_secs_f64() - timestamp.as_duration().as_secs_f64();
    Ok(Value {
        value: values.iter().sum(),
        // Two clocks may differ by more than the value is old.
        age_s: oldest.map(|oldest| age(oldest).max(0.0)),
    })
}

/// A metric's name as a part of a path.
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(items: serde_json::Value) -> List {
        serde_json::from_value(json!({"items": items})).unwrap()
    }

    #[test]
    fn items_are_summed_and_as_old_as_the_oldest() {
        let items = list(json!([
            {"value": "1500m", "timestamp": "1970-01-01T00:01:40Z"},
            {"value": "2", "timestamp": "1970-01-01T00:01:38Z"},
        ]));
        let now = Duration::from_millis(101_500);
        let expected = Value {
            value: 3.5,
            age_s: Some(3.5),
        };
        assert_eq!(value(&items, now), Ok(expected));
        let early = value(&items, Duration::from_secs(90)).unwrap();
        assert_eq!(early.age_s, Some(0.0));
    }

    #[test]
    fn no_items_are_no_value() {
        let now = Duration::ZERO;
        assert!(
            value(&list(json!([])), now)
                .unwrap_err()
                .contains("no metrics")
        );
        assert!(
            value(&list(json!([{"value": "many"}])), now)
                .unwrap_err()
                .contains("quantity")
        );
    }

    #[test]
    fn any_name_fits_into_a_path() {
        assert_eq!(escaped("request_latency_ms"), "request_latency_ms");
        assert_eq!(escaped("a|b/c?d"), "a%7Cb%2Fc%3Fd");
    }
}
