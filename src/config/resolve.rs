//! From what a person wrote to what the program acts on: defaults filled in, rules checked against each other.

mod pods;
mod redis;
mod selector;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::{Objective, ServiceSpec, WIDEST_WINDOW};
use crate::model::id::ServiceId;
use crate::source::SourceSpec;

use super::document::{self, At, Header, Spec};
use super::field::{self, Checked, Origin, line_of, spelled, wrong};
use super::{API_VERSION, KIND, Object, Service};

/// Long enough for six scrapes, so that one lost scrape moves a rate little; short enough for an HPA, which looks
/// every 15 s, to see a change at its second look.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// Three scrapes between two looks of the HPA.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// The namespace of a document that names none, as `kubectl` has it.
const DEFAULT_NAMESPACE: &str = "default";

/// More often costs targets more than it tells anybody.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A window must hold two reads even when one is late.
const WINDOW_INTERVALS_MIN: u32 = 2;

/// A thousandth of the unit latencies are served in: a Quantity resolves no less.
const LATENCY_MIN: Duration = Duration::from_micros(1);

/// No target answers sooner; a deadline of nothing would only ever be missed.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The longest name that is a label value, as `service` has to be.
const NAME_BYTES_MAX: usize = 63;

/// Whose document it is.
pub(super) fn identity(header: &Header) -> Checked<ServiceId> {
    let document::Metadata { name, namespace } = &header.metadata;
    check_name("metadata.name", name)?;
    let namespace = match namespace {
        Some(namespace) => {
            check_name("metadata.namespace", namespace)?;
            namespace.value.as_str()
        }
        None => DEFAULT_NAMESPACE,
    };
    Ok(ServiceId::new(namespace, &name.value))
}

/// Refuses a document of another kind, whose fields would only be strange.
pub(super) fn check_kind(header: &Header) -> Checked<()> {
    for (field, written, expected) in [
        ("apiVersion", &header.api_version, API_VERSION),
        ("kind", &header.kind, KIND),
    ] {
        if written.value != expected {
            let message = format!("{field} is {:?} and must be {expected}", written.value);
            return Err(wrong(line_of(written), message));
        }
    }
    Ok(())
}

/// Resolves the spec of one document. One of a file selects no pods.
pub(super) fn resolve(id: ServiceId, spec: Spec, origin: Origin<'_>) -> Checked<Object> {
    let (window, interval) = timing(spec.window.as_ref(), spec.interval.as_ref())?;
    let objective = spec.objective.as_ref().map(objective).transpose()?;
    let line = line_of(&spec.source);
    let source = spec.source.value;
    if source.prometheus.is_some() {
        return Err(wrong(
            line,
            "spec.source.prometheus is not read yet; use pods or redis",
        ));
    }
    let mut selection = None;
    let (sources, has_requests) = match (source.pods, source.redis) {
        (Some(pods), None) => {
            let scraping = pods::scraping(&pods, interval, origin)?;
            let sources = match origin {
                Origin::File => pods::sources(&id, &pods, &scraping, line)?,
                Origin::Object { .. } => {
                    selection = Some(pods::selection(&pods, scraping, line)?);
                    Vec::new()
                }
            };
            (sources, true)
        }
        (None, Some(redis)) => {
            let spec = redis::source(&id, interval, redis, line, origin)?;
            let has_requests = spec.server.is_some() || spec.reported.is_some();
            (vec![SourceSpec::Redis(spec)], has_requests)
        }
        _ => {
            return Err(wrong(
                line,
                "spec.source needs exactly one of pods and redis",
            ));
        }
    };
    let spec = ServiceSpec {
        id,
        interval,
        window,
        objective,
        has_requests,
    };
    Ok(Object {
        service: Service {
            spec,
            sources,
            phases: BTreeMap::new(),
            pods: BTreeMap::new(),
        },
        pods: selection,
    })
}

/// A DNS label: it becomes a label value and a path segment.
fn check_name(field: &str, written: &At<String>) -> Checked<()> {
    let name = &written.value;
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_sound = bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes.iter().all(|b| is_alphanumeric(b) || *b == b'-')
        && bytes.len() <= NAME_BYTES_MAX;
    if is_sound {
        return Ok(());
    }
    let message = format!(
        "{field} is {name:?} and must be 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, beginning and ending with a letter or digit"
    );
    Err(wrong(line_of(written), message))
}

/// The window and the interval. Bounded both, so that neither overflows what is reckoned with it.
fn timing(
    window: Option<&At<String>>,
    interval: Option<&At<String>>,
) -> Checked<(Duration, Duration)> {
    let line = window.or(interval).and_then(line_of);
    let intervals = INTERVAL_MIN..=WIDEST_WINDOW / WINDOW_INTERVALS_MIN;
    let interval =
        field::duration("spec.interval", interval, &intervals)?.unwrap_or(DEFAULT_INTERVAL);
    let shortest = interval * WINDOW_INTERVALS_MIN;
    let windows = INTERVAL_MIN * WINDOW_INTERVALS_MIN..=WIDEST_WINDOW;
    let window =
        field::duration("spec.window", window, &windows)?.unwrap_or(DEFAULT_WINDOW.max(shortest));
    if window < shortest {
        let message = format!(
            "spec.window ({}) must be at least {WINDOW_INTERVALS_MIN} times spec.interval ({}), since a rate needs two reads",
            spelled(window),
            spelled(interval)
        );
        return Err(wrong(line, message));
    }
    Ok((window, interval))
}

fn objective(objective: &document::Objective) -> Checked<Objective> {
    let quantile = objective.quantile.value;
    if !(0.0 < quantile && quantile < 1.0) {
        let message = format!(
            "spec.objective.quantile is {quantile} and must be above 0 and below 1; {}",
            quantile_meant(quantile)
        );
        return Err(wrong(line_of(&objective.quantile), message));
    }
    let latency = field::required_duration(
        "spec.objective.latency",
        &objective.latency,
        &(LATENCY_MIN..=WIDEST_WINDOW),
    )?;
    Ok(Objective { quantile, latency })
}

/// Who writes 95 thinks of per cent.
fn quantile_meant(written: f64) -> String {
    if 1.0 < written && written < 100.0 {
        // Rounded, since 99.9 / 100 is not 0.999.
        let share = (written * 1e6).round() / 1e8;
        format!("did you mean {share}?")
    } else {
        "most take 0.95".to_owned()
    }
}

/// The deadline of one read: within the interval, so that reads do not pile up.
fn timeout(
    field: &str,
    written: Option<&At<String>>,
    interval: Duration,
) -> Checked<Option<Duration>> {
    field::duration(field, written, &(TIMEOUT_MIN..=interval))
}
