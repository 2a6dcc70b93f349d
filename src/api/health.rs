//! `/livez`, `/readyz`, `/healthz`: text for probes and people, each check by name.
//!
//! Live is a program that still makes snapshots, or has not begun. Ready is one that has numbers to serve. What a
//! source does, such as a Redis server that is down, touches neither: that is one service's trouble, and an adapter
//! that is not ready answers for none.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

use crate::clock;
use crate::model::time::Timestamp;

use super::status::Status;
use super::{AppState, query, read, reply};

/// How long no snapshot may be made before the program counts as hung and is restarted. Sixty times the usual
/// second: a paused machine must not be taken for it.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// How long after its first snapshot a replica waits for services to be known before it is ready all the same. Four
/// syncs of the HPA: enough for intervals of up to half a minute. Without a bound one object that is read every five
/// minutes, or one that is new each time somebody looks, would keep every replica that starts from answering for all
/// others.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

type Check = fn(&AppState, Timestamp) -> Result<(), String>;
type Checks = &'static [(&'static str, Check)];

const LIVE: Checks = &[("ping", ping), ("pipeline", pipeline)];

const READY: Checks = &[
    ("ping", ping),
    ("snapshot", snapshot),
    ("windows", windows),
    ("authorities", authorities),
    ("shutdown", shutdown),
];

impl AppState {
    /// The checks of `/readyz`, and whether each passes now.
    pub fn readiness(&self) -> Vec<(&'static str, bool)> {
        let now = clock::now();
        let checks = READY.iter();
        checks
            .map(|(name, passes)| (*name, passes(self, now).is_ok()))
            .collect()
    }
}

/// Adds the health paths, each with a path per check.
pub(super) fn routes(router: Router<Arc<AppState>>) -> Router<Arc<AppState>> {
    [("healthz", LIVE), ("livez", LIVE), ("readyz", READY)]
        .into_iter()
        .fold(router, |router, (name, checks)| {
            let all = move |State(state): State<Arc<AppState>>, request: Request| async move {
                report(&state, name, checks, request.uri().query().unwrap_or_default())
            };
            let one = move |State(state): State<Arc<AppState>>, Path(check): Path<String>| async move {
                single(&state, name, checks, &check)
            };
            router
                .route(&format!("/{name}"), get(all))
                .route(&format!("/{name}/{{check}}"), get(one))
        })
}

/// All checks, in the form of Kubernetes' own servers: `ok`, or one line a check when one fails or `?verbose` is asked.
fn report(state: &AppState, name: &str, checks: Checks, raw_query: &str) -> Response {
    let now = clock::now();
    let excluded: Vec<_> = query::values(raw_query, "exclude").collect();
    let is_excluded = |check: &str| excluded.iter().any(|name| name == check);
    let mut lines = String::new();
    let mut failed = false;
    for (check, passes) in checks {
        match passes(state, now) {
            _ if is_excluded(check) => {
                reply::line(&mut lines, format_args!("[+]{check} excluded: ok"));
            }
            Ok(()) => reply::line(&mut lines, format_args!("[+]{check} ok")),
            Err(why) => {
                failed = true;
                reply::line(&mut lines, format_args!("[-]{check} failed: {why}"));
            }
        }
    }
    for name in &excluded {
        if !checks.iter().any(|(check, _)| check == name) {
            reply::line(
                &mut lines,
                format_args!("warn: there is no check {name:?} to exclude"),
            );
        }
    }
    if failed {
        reply::line(&mut lines, format_args!("{name} check failed"));
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if query::raw_value(raw_query, "verbose").is_none() {
        return reply::text(StatusCode::OK, "ok".to_owned());
    }
    reply::line(&mut lines, format_args!("{name} check passed"));
    reply::text(StatusCode::OK, lines)
}

fn single(state: &AppState, name: &str, checks: Checks, check: &str) -> Result<Response, Status> {
    let Some((_, passes)) = checks.iter().find(|(known, _)| *known == check) else {
        return Err(Status::not_found(format!("{name} has no check {check:?}")));
    };
    Ok(match passes(state, clock::now()) {
        Ok(()) => reply::text(StatusCode::OK, "ok".to_owned()),
        Err(why) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
    })
}

fn ping(_: &AppState, _: Timestamp) -> Result<(), String> {
    Ok(())
}

/// Snapshots are still being made, or none was made yet.
fn pipeline(state: &AppState, now: Timestamp) -> Result<(), String> {
    let at = state.snapshot().at();
    let age = now.since(at);
    if at == Timestamp::default() || age <= STALLED_AFTER {
        return Ok(());
    }
    Err(format!("no snapshot was made for {} s", age.as_secs()))
}

/// There is a snapshot that may be served.
fn snapshot(state: &AppState, now: Timestamp) -> Result<(), String> {
    read::is_fresh(&state.snapshot(), now, &state.limits)
}

/// Every service has had time to be known, as far as that is bearable. After a restart an old replica keeps answering
/// meanwhile. Once passed it stays so: a service that is added later must not take the others' answers away.
fn windows(state: &AppState, _: Timestamp) -> Result<(), String> {
    is_settled(state, clock::instant())
}

fn is_settled(state: &AppState, now: Instant) -> Result<(), String> {
    if state.settled.load(Ordering::Relaxed) {
        return Ok(());
    }
    let snapshot = state.snapshot();
    if snapshot.at() == Timestamp::default() {
        return Err("no snapshot was made yet".to_owned());
    }
    let since = *state.settling_since.get_or_init(|| now);
    let starting = snapshot
        .services()
        .filter(|service| service.coverage.known == 0 && 0 < service.coverage.starting)
        .count();
    if 0 < starting && now.saturating_duration_since(since) < SETTLED_WITHIN {
        return Err(format!("{starting} services have no whole window yet"));
    }
    state.settled.store(true, Ordering::Relaxed);
    Ok(())
}

/// It is known whom to trust: until then the aggregation layer itself would be turned away.
fn authorities(state: &AppState, _: Timestamp) -> Result<(), String> {
    if state.guard.as_ref().is_none_or(|guard| guard.is_ready()) {
        return Ok(());
    }
    Err("the cluster's authorities were not read yet".to_owned())
}

/// The program is not on its way out.
fn shutdown(state: &AppState, _: Timestamp) -> Result<(), String> {
    if state.draining.load(Ordering::Relaxed) {
        return Err("shutting down".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::engine::snapshot::{Coverage, ServiceView, Snapshot, State};
    use crate::model::id::ServiceId;

    /// A service that has just begun, and will not be read a second time for minutes.
    fn slow(now: Timestamp) -> Snapshot {
        let view = ServiceView {
            id: ServiceId::new("shop", "slow"),
            objective: None,
            at: now,
            state: State::Unknown("it was not read twice".to_owned()),
            coverage: Coverage {
                starting: 1,
                ..Coverage::default()
            },
            windows: Vec::new(),
            in_flight: None,
            pods: Vec::new(),
            backlogs: Vec::new(),
        };
        Snapshot::new(now, vec![view])
    }

    #[test]
    fn one_slow_service_keeps_a_replica_from_answering_for_a_minute_and_no_longer() {
        let (_publish, snapshots) = watch::channel(Arc::new(slow(clock::now())));
        let state = AppState::new(snapshots);
        let start = clock::instant();
        let settled = |after| is_settled(&state, start + after);
        let why = settled(Duration::ZERO).unwrap_err();
        assert!(why.contains("1 services"), "{why}");
        assert!(settled(SETTLED_WITHIN - Duration::from_millis(1)).is_err());
        assert_eq!(settled(SETTLED_WITHIN), Ok(()));
        assert_eq!(settled(Duration::ZERO), Ok(()), "it stays so");
    }
}
