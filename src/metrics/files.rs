//! What is said of the files that are read: the configuration and the serving certificate. A gauge has no series before
//! its value is known: a certificate that ended in 1970 would wake somebody at every start.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::time::Timestamp;

use super::{Metrics, Verdict};

/// Counters and gauges of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    reloads: Family<Verdict, Counter>,
    certificate_reloads: Family<Verdict, Counter>,
    known: Arc<Known>,
}

/// What may not be known yet.
#[derive(Debug, Default)]
struct Known {
    reload_successful: Value,
    reload_success_at: Value,
    certificate_not_after: Value,
}

/// A gauge that may not be known yet.
#[derive(Debug, Default)]
struct Value(OnceLock<Gauge<f64, AtomicU64>>);

impl Files {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "taffrail_config_reloads",
            "Loads of the configuration file",
            self.reloads.clone(),
        );
        registry.register(
            "taffrail_certificate_reloads",
            "Reads of the serving certificate that brought another one, or failed",
            self.certificate_reloads.clone(),
        );
        registry.register_collector(Box::new(Collected(Arc::clone(&self.known))));
        begin_at_zero(&self.certificate_reloads);
    }
}

impl Metrics {
    /// The configuration file was read, or could not be.
    pub fn reloaded(&self, is_clean: bool, at: Timestamp) {
        begin_at_zero(&self.files.reloads);
        let result = Verdict::of(is_clean);
        self.files.reloads.get_or_create(&result).inc();
        let known = &self.files.known;
        known.reload_successful.set(f64::from(u8::from(is_clean)));
        if is_clean {
            known.reload_success_at.set(at.seconds());
        }
    }

    /// The serving certificate's end.
    pub fn certificate(&self, not_after: Timestamp) {
        let end = &self.files.known.certificate_not_after;
        end.set(not_after.seconds());
    }

    /// Another serving certificate was read, or one could not be read or used.
    pub fn certificate_reloaded(&self, is_sound: bool) {
        let reloads = &self.files.certificate_reloads;
        reloads.get_or_create(&Verdict::of(is_sound)).inc();
    }
}

impl Value {
    fn set(&self, value: f64) {
        self.0.get_or_init(Gauge::default).set(value);
    }
}

/// What is known, as the registry keeps it.
#[derive(Debug)]
struct Collected(Arc<Known>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let known = &self.0;
        for (name, help, value) in [
            (
                "taffrail_config_last_reload_successful",
                "1 while the configuration file was without a problem when it was last loaded",
                &known.reload_successful,
            ),
            (
                "taffrail_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded without a problem, in seconds since the epoch",
                &known.reload_success_at,
            ),
            (
                "taffrail_certificate_not_after_timestamp_seconds",
                "When the serving certificate expires, in seconds since the epoch",
                &known.certificate_not_after,
            ),
        ] {
            if let Some(gauge) = value.0.get() {
                let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                gauge.encode(descriptor)?;
            }
        }
        Ok(())
    }
}

/// Both results: the first failure of a series that did not exist before is no increase to PromQL.
fn begin_at_zero(results: &Family<Verdict, Counter>) {
    for is_success in [true, false] {
        drop(results.get_or_create(&Verdict::of(is_success)));
    }
}
