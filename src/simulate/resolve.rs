//! A scenario to what is played: its services' `metrics` and `hpa` are documents of Kubernetes, which the load
//! generator keeps without reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};
use serde_json::Value;
use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::sample_app::{self, TOKEN_HEADER};
use taffrail_loadtest::scenario::Scenario;

use crate::config::{self, autoscaler};
use crate::model::id::TargetId;
use crate::sim::{Hpa, Of, Plan, Source, is_right};
use crate::source::SourceSpec;

/// The namespace of what names none, as `kubectl` has it.
const DEFAULT_NAMESPACE: &str = "default";

/// The plan of `scenario`, and what a reader of it should know. `read` has the text of a trace.
pub(crate) fn plan(
    scenario: Scenario,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> anyhow::Result<(Plan, Vec<String>)> {
    let loads = LoadPlan::all(&scenario, read)?;
    let (mut sources, mut notes) = (Vec::new(), Vec::new());
    let mut autoscalers = BTreeMap::new();
    for (place, (name, service)) in scenario.services.iter().enumerate() {
        for document in config::documents_of(service.metrics.as_ref(), name) {
            // Pods are computed, so nothing is wrong with a page that is another; the sample app's own it is not.
            let unlike = config::unlike_played(&document, name, &sample_app::PAGE);
            notes.extend(unlike.map(|unlike| {
                format!("metrics of {name}: {unlike}; that is not looked at in virtual time")
            }));
            let token = service.app.as_ref().and_then(|app| app.token.as_deref());
            let source = source(document, place, token);
            sources.push(source.with_context(|| format!("metrics of service {name}"))?);
        }
    }
    for (place, (name, service)) in scenario.services.iter().enumerate() {
        let Some(object) = &service.hpa else { continue };
        let hpa = autoscaler(object, name, namespace(&sources, place));
        let hpa = hpa.with_context(|| format!("HPA of service {name}"))?;
        autoscalers.insert(name.clone(), hpa);
    }
    let version = env!("CARGO_PKG_VERSION");
    let plan = Plan::new(scenario, loads, sources, autoscalers, version)?;
    Ok((plan, notes))
}

/// Where an HPA reads that names no namespace: where the metrics of the service at `place` are, or those of all
/// services, if they are in one; else where `kubectl` looks.
fn namespace(sources: &[Source], place: usize) -> &str {
    let is_own =
        |source: &&Source| matches!(source.of, Of::Pods { service, .. } if service == place);
    let own = namespaces(sources.iter().filter(is_own));
    [own, namespaces(sources)]
        .iter()
        .find_map(|names| names.first().filter(|_| names.len() == 1).copied())
        .unwrap_or(DEFAULT_NAMESPACE)
}

fn namespaces<'s>(sources: impl IntoIterator<Item = &'s Source>) -> BTreeSet<&'s str> {
    let sources = sources.into_iter();
    sources.map(|source| &*source.spec.id.namespace).collect()
}

fn autoscaler(object: &Value, service: &str, namespace: &str) -> anyhow::Result<Hpa> {
    let spec = autoscaler::from_value(object)?;
    let mut selectors = autoscaler::selectors(object)?;
    selectors.resize_with(spec.metrics.len(), Default::default);
    let text = |pointer: &str, or: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or(or)
            .to_owned()
    };
    Ok(Hpa {
        namespace: text("/metadata/namespace", namespace),
        name: text("/metadata/name", service),
        spec,
        selectors,
    })
}

/// What a `RequestMetrics` document of the service at `place` says.
fn source(mut document: Value, place: usize, token: Option<&str>) -> anyhow::Result<Source> {
    let has_token = hide_token(&mut document, token);
    let object = config::object(&document.to_string());
    let object = object.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let spec = object.service.spec;
    let of = match (&object.pods, object.service.sources.as_slice()) {
        (Some(selection), _) => {
            // Where a pod is makes no difference to what is read of it.
            let nowhere = TargetId::new(&spec.id, "");
            let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let SourceSpec::Scrape(scrape) = selection.source(nowhere, address, 0) else {
                bail!("pods are read over HTTP");
            };
            Of::Pods {
                service: place,
                matchers: scrape.want.matchers,
                in_flight: scrape.want.in_flight.is_some(),
                cpu: scrape.want.cpu.is_some(),
                has_token,
            }
        }
        (None, [SourceSpec::Redis(redis)])
            if redis.server.is_some() && redis.backlog.is_empty() =>
        {
            Of::Redis
        }
        _ => bail!(
            "of Redis only the server's own requests are simulated: write `source: {{redis: {{server: {{}}}}}}`"
        ),
    };
    Ok(Source { spec, of })
}

/// Whether scrapes have the app's `token`. What the scenario writes out is compared, and taken away, since an object may
/// not hold a secret; what is in a Secret or a variable is taken to be right.
fn hide_token(document: &mut Value, token: Option<&str>) -> bool {
    let Some(headers) = document
        .pointer_mut("/spec/source/pods/headers")
        .and_then(Value::as_object_mut)
    else {
        return document.pointer("/spec/source/pods/bearerToken").is_some();
    };
    let named = |name: &String| name.eq_ignore_ascii_case(TOKEN_HEADER);
    let sent = headers
        .iter()
        .find(|(name, _)| named(name))
        .map(|(_, value)| value);
    let has_token = sent.is_some_and(|sent| match sent.get("value").and_then(Value::as_str) {
        Some(written) => token.is_some_and(|token| is_right(written, token)),
        None => true,
    });
    headers.retain(|_, value| value.get("value").is_none());
    has_token
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::sim;

    /// What comes of a load whose app wants one token while its clients send another.
    fn played(wanted: &str, sent: &str) -> taffrail_loadtest::recording::Recording {
        let text = format!(
            "name: users
app: {{ workers: 4, serviceTime: 10ms, token: '{wanted}' }}
requests: [{{ path: /, headers: {{ x-auth-token: '{sent}' }} }}]
scenarios: {{ main: {{ profile: 20@5s }} }}
"
        );
        let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let scenario = Scenario::read("users.yaml", &text, none).unwrap();
        sim::play(&plan(scenario, none).unwrap().0, &mut |_| {
            ControlFlow::Continue(())
        })
    }

    #[test]
    fn clients_are_let_in_by_the_token_that_reports_do_not_show() {
        let cases = [
            ("hush", "hush", true),
            ("hush", "hush-no-more", false),
            ("hush", "${env:TOKEN}", true),
            ("${env:TOKEN}", "hush", true),
        ];
        for (wanted, sent, is_let_in) in cases {
            let recording = played(wanted, sent);
            let load = &recording.services["users"].load;
            let good = load.counts.ok;
            assert_eq!(good, if is_let_in { 100 } else { 0 }, "{wanted} and {sent}");
            let shown = serde_json::to_string(&recording).unwrap();
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn an_hpa_that_names_no_namespace_reads_where_the_metrics_of_its_service_are() {
        let resolved = |services: &[(&str, &str)], namespace: &str| {
            let mut text =
                "name: shop\nscenarios: {main: {service: users, profile: 20@20s}}\nservices:\n"
                    .to_owned();
            for (name, of_metrics) in services {
                text += &format!(
                    "  {name}: {{app: {{workers: 4}}, metrics: {{metadata: {{name: {name}{of_metrics}}}, spec: {{source: {{pods: {{selector: \
                     {{matchLabels: {{app: {name}}}}}}}}}, objective: {{quantile: 0.95, latency: 1s}}}}}}"
                );
                if *name == "users" {
                    text += &format!(
                        ", hpa: {{metadata: {{name: users{namespace}}}, spec: {{maxReplicas: 3, metrics: [{{type: External, external: \
                         {{metric: {{name: request_rate}}, target: {{type: AverageValue, averageValue: 5}}}}}}]}}}}"
                    );
                }
                text += "}\n";
            }
            let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
            let scenario = Scenario::read("shop.yaml", &text, none).unwrap();
            let (plan, _) = plan(scenario, none).unwrap();
            let recording = sim::play(&plan, &mut |_| ControlFlow::Continue(()));
            let mut reads = recording.services["users"].metrics[0].reads.iter();
            reads.any(|read| Some(0.0) < read.value)
        };
        let (shop, back) = (", namespace: shop", ", namespace: back");
        for (services, namespace, is_read) in [
            (vec![("users", "")], "", true),
            (vec![("users", shop)], "", true),
            (vec![("orders", back), ("users", shop)], "", true),
            (vec![("users", shop)], shop, true),
            (vec![("users", shop)], back, false),
        ] {
            assert_eq!(
                resolved(&services, namespace),
                is_read,
                "{services:?}{namespace}"
            );
        }
    }

    #[test]
    fn a_page_that_is_not_the_sample_apps_is_noted() {
        let noted = |pods: &str| {
            let text = format!(
                "name: users
app: {{ workers: 4 }}
metrics: {{ source: {{ pods: {{ selector: {{ matchLabels: {{ app: users }} }}, {pods} }} }}, objective: {{ quantile: 0.95, latency: 1s }} }}
scenarios: {{ main: {{ profile: 20@5s }} }}
"
            );
            let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
            let scenario = Scenario::read("users.yaml", &text, none).unwrap();
            plan(scenario, none).unwrap().1
        };
        assert_eq!(
            noted("port: 8080, histogram: http_request_duration_seconds"),
            [""; 0]
        );
        assert_eq!(
            noted("histogram: http_server_seconds"),
            [
                "metrics of users: histogram is \"http_server_seconds\", and that of the pods that are played is \
              \"http_request_duration_seconds\"; that is not looked at in virtual time"
            ]
        );
        assert_eq!(noted("inFlight: in_flight").len(), 1);
    }
}
