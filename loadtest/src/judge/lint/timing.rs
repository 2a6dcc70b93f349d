//! How long a metric takes: over which window an adapter takes it, and how often it reads what it is made of. Said by whoever
//! measures a service, in documents of which only these fields are read.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::scenario::{Scenario, Service, Span};

/// How long a metric takes, where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Over how long the metric is taken, in seconds.
    pub metric_window_s: Option<f64>,
    /// How often pods are scraped, in seconds.
    pub scrape_interval_s: Option<f64>,
}

/// How long the metrics of each service take: as its `metrics` say, else as `given`; the window, where neither tells, is
/// that of the scenario's objective. What `metrics` holds is a document of others, of which only these fields are read.
#[must_use]
pub fn timings(scenario: &Scenario, given: Timing) -> BTreeMap<String, Timing> {
    let objective_s = scenario.slo.map(|slo| slo.window.seconds());
    let timing = |(name, service): (&String, &Service)| {
        let timing = Timing {
            metric_window_s: written_s(service, "window")
                .or(given.metric_window_s)
                .or(objective_s),
            scrape_interval_s: written_s(service, "interval").or(given.scrape_interval_s),
        };
        (name.clone(), timing)
    };
    scenario.services.iter().map(timing).collect()
}

/// The longest duration of this name in the documents of a service's metrics.
fn written_s(service: &Service, field: &str) -> Option<f64> {
    let metrics = service.metrics.as_ref()?;
    let items = metrics.get("items").and_then(Json::as_array);
    let documents = items.map_or(std::slice::from_ref(metrics), Vec::as_slice);
    let spans = documents.iter().filter_map(|document| {
        // The head of a document may be left out.
        let spec = document.get("spec").unwrap_or(document);
        spec.get(field)?.as_str()?.parse::<Span>().ok()
    });
    spans.map(Span::seconds).reduce(f64::max)
}
