//! What is counted of who asks and whether they may. The time of reviews has the names that Kubernetes' own extension
//! API servers give it.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Metrics, Seconds, Unauthenticated, Verdict};

/// How a review of access can end.
const REVIEW_RESULTS: [&str; 3] = ["allowed", "denied", "failed"];

/// Counters and times of authentication and authorization.
#[derive(Debug)]
pub(super) struct Auth {
    unauthenticated: Family<Unauthenticated, Counter>,
    reviews: Family<Verdict, Counter>,
    token_seconds: Family<Code, Histogram, Seconds>,
    access_seconds: Family<Code, Histogram, Seconds>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            unauthenticated: Family::default(),
            reviews: Family::default(),
            token_seconds: Family::new_with_constructor(Seconds),
            access_seconds: Family::new_with_constructor(Seconds),
        }
    }
}

impl Auth {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "taffrail_authentication_failures",
            "Requests whose user could not be made out",
            self.unauthenticated.clone(),
        );
        registry.register(
            "taffrail_authorization_reviews",
            "Times the API server was asked whether a user may",
            self.reviews.clone(),
        );
        registry.register(
            "apiserver_delegated_authn_request_duration_seconds",
            "Time the API server took to say whose a token is, by its answer's code",
            self.token_seconds.clone(),
        );
        registry.register(
            "apiserver_delegated_authz_request_duration_seconds",
            "Time the API server took to say whether a user may, by its answer's code",
            self.access_seconds.clone(),
        );
    }
}

impl Metrics {
    /// Requests are authenticated and authorized from now on. The results of reviews begin at zero then: the first failure
    /// of a series that did not exist before is no increase to PromQL.
    pub fn guarded(&self) {
        for result in REVIEW_RESULTS {
            drop(self.auth.reviews.get_or_create(&Verdict { result }));
        }
    }

    /// A request's user could not be made out. `reason` is of a fixed set.
    pub fn unauthenticated(&self, reason: &'static str) {
        let failures = &self.auth.unauthenticated;
        failures.get_or_create(&Unauthenticated { reason }).inc();
    }

    /// The API server was asked whose a token is, and answered with the HTTP status `code`, or not at all.
    pub fn token_reviewed(&self, code: Option<&'static str>, took: Duration) {
        let of_code = self.auth.token_seconds.get_or_create(&Code::of(code));
        of_code.observe(took.as_secs_f64());
    }

    /// The API server was asked whether a user may; `result` is one of `allowed`, `denied` and `failed`, and `code` the
    /// HTTP status, where it answered.
    pub fn access_reviewed(
        &self,
        result: &'static str,
        code: Option<&'static str>,
        took: Duration,
    ) {
        self.auth.reviews.get_or_create(&Verdict { result }).inc();
        let of_code = self.auth.access_seconds.get_or_create(&Code::of(code));
        of_code.observe(took.as_secs_f64());
    }
}

impl Code {
    /// As Kubernetes' own servers write that there was no answer.
    fn of(code: Option<&'static str>) -> Self {
        let code = code.unwrap_or("<error>");
        Self { code }
    }
}
