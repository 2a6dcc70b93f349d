//! What happened to an HPA lately, as Kubernetes keeps it: its events, for an hour.

use serde::Serialize;
use serde_json::Value;

use super::ask::{AskError, Right, ask, encoded};
use crate::cluster::connect::Cluster;
use crate::model::time::Timestamp;

/// Most events that are told, the newest.
const TOLD_MAX: usize = 6;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    /// When it last happened.
    pub(super) at: Timestamp,
    /// How often it did.
    pub(super) count: i64,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// In one word.
    pub(super) reason: String,
    /// In a sentence.
    pub(super) message: String,
}

/// The newest events of the HPA until `until`, oldest first.
pub(super) async fn read(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    until: Timestamp,
) -> Result<Vec<Event>, AskError> {
    let of = format!("involvedObject.kind=HorizontalPodAutoscaler,involvedObject.name={name}");
    let path = format!(
        "/api/v1/namespaces/{}/events?fieldSelector={}",
        encoded(namespace),
        encoded(&of)
    );
    let list: Value = ask(cluster, &path, Right::new("list", "", "events", namespace)).await?;
    Ok(newest(&list, until))
}

fn newest(list: &Value, until: Timestamp) -> Vec<Event> {
    let items = list.get("items").and_then(Value::as_array);
    let events = items.into_iter().flatten().filter_map(event);
    let mut events: Vec<Event> = events.filter(|event| event.at <= until).collect();
    events.sort_by_key(|event| event.at);
    events.split_off(events.len().saturating_sub(TOLD_MAX))
}

fn event(item: &Value) -> Option<Event> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let series = item
        .pointer("/series/lastObservedTime")
        .and_then(Value::as_str);
    // Writers fill in one or another of these.
    let times = [
        series,
        text("lastTimestamp"),
        text("eventTime"),
        text("firstTimestamp"),
    ];
    let at = times
        .into_iter()
        .flatten()
        .find_map(Timestamp::from_rfc3339)?;
    let counts = [item.pointer("/series/count"), item.get("count")];
    Some(Event {
        at,
        count: counts
            .into_iter()
            .flatten()
            .find_map(Value::as_i64)
            .unwrap_or(1),
        kind: text("type").unwrap_or_default().to_owned(),
        reason: text("reason").unwrap_or_default().to_owned(),
        message: text("message").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_events_are_told_in_their_order() {
        let one = |minute: usize| {
            json!({"type": "Normal", "reason": "SuccessfulRescale", "message": format!("{minute}"), "count": 1,
                   "lastTimestamp": format!("2026-11-21T10:{minute:02}:00Z"), "eventTime": null})
        };
        let list = json!({"items": (0..9).rev().map(one).collect::<Vec<_>>()});
        let until = Timestamp::from_rfc3339("2026-11-21T10:07:30Z").unwrap();
        let events = newest(&list, until);
        let told: Vec<&str> = events.iter().map(|event| event.message.as_str()).collect();
        assert_eq!(told, ["2", "3", "4", "5", "6", "7"]);
    }
}
