//! The watch of the ConfigMap in which the API server says whom to trust. It never ends, and what was good stays until
//! something better comes.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use super::trust::Trust;

const NAMESPACE: &str = "kube-system";
pub(super) const NAME: &str = "extension-apiserver-authentication";

/// The API server ends the watch after this, and it is begun anew. Less than a client waits for an answer.
const WATCH_SECONDS: u32 = 60;

/// What follows the ConfigMap between two looks at it.
#[derive(Default)]
struct Follower {
    /// The entries last looked at. A watch that begins anew repeats them, and must not make every connection's
    /// certificate be judged again.
    seen: Option<BTreeMap<String, String>>,
    /// What was last complained about, so that it is said once.
    complaint: Option<String>,
}

/// Keeps `trust` as the cluster has it.
pub(super) async fn follow(client: Client, trust: &ArcSwapOption<Trust>) {
    let api = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let only = watcher::Config::default()
        .fields(&format!("metadata.name={NAME}"))
        .timeout(WATCH_SECONDS);
    let mut events = pin!(watcher(api, only).default_backoff());
    let mut follower = Follower::default();
    let mut is_there = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => is_there = false,
            Ok(Event::InitApply(config_map) | Event::Apply(config_map)) => {
                is_there = true;
                follower.read(config_map.data.unwrap_or_default(), trust);
            }
            Ok(Event::InitDone) if is_there => {}
            Ok(Event::InitDone | Event::Delete(_)) => {
                follower.complain("it does not exist".to_owned());
            }
            Err(error) => follower.complain(explained(&error)),
        }
    }
}

impl Follower {
    fn read(&mut self, entries: BTreeMap<String, String>, trust: &ArcSwapOption<Trust>) {
        if self.seen.as_ref() == Some(&entries) {
            if self.complaint.take().is_some() {
                tracing::info!(config_map = NAME, "Authorities can be read again");
            }
            return;
        }
        match Trust::read(&entries) {
            Ok(read) => {
                if read.has_front_proxy() {
                    tracing::info!(config_map = NAME, "Authorities loaded");
                } else {
                    tracing::warn!(
                        config_map = NAME,
                        "The API server names no front proxy: without an aggregation layer only direct callers are let in"
                    );
                }
                trust.store(Some(Arc::new(read)));
                self.complaint = None;
                self.seen = Some(entries);
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    fn complain(&mut self, why: String) {
        if self.complaint.as_ref() == Some(&why) {
            return;
        }
        tracing::warn!(
            namespace = NAMESPACE,
            config_map = NAME,
            why,
            "Cannot read whom to trust: keeping the last good authorities, if there are any"
        );
        self.complaint = Some(why);
    }
}

/// The error, and what to do about the one that only a person can mend.
fn explained(error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        other => return other.to_string(),
    };
    if status.code == 403 {
        return format!(
            "the adapter may not read it: bind Role {NAMESPACE}/extension-apiserver-authentication-reader to its \
             service account ({})",
            status.message
        );
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(names: &str) -> BTreeMap<String, String> {
        let authority = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]);
        let pem = authority.expect("a legal name").cert.pem();
        BTreeMap::from([
            ("requestheader-client-ca-file".to_owned(), pem),
            ("requestheader-allowed-names".to_owned(), names.to_owned()),
        ])
    }

    #[test]
    fn a_broken_config_map_keeps_the_last_good_one_and_is_said_once() {
        let trust = ArcSwapOption::empty();
        let mut follower = Follower::default();
        follower.read(entries("not JSON"), &trust);
        assert!(trust.load().is_none(), "nobody is trusted by mistake");
        follower.read(entries("[]"), &trust);
        let good = trust.load_full().expect("it was read");
        assert_eq!(follower.complaint, None);
        follower.read(entries("not JSON"), &trust);
        let complaint = follower.complaint.clone();
        assert!(complaint.is_some_and(|why| why.contains("allowed-names")));
        assert!(Arc::ptr_eq(&good, &trust.load_full().expect("it stays")));
    }

    #[test]
    fn the_same_entries_again_change_nothing() {
        let trust = ArcSwapOption::empty();
        let mut follower = Follower::default();
        let entries = entries("[]");
        follower.read(entries.clone(), &trust);
        let first = trust.load_full().expect("it was read");
        follower.complain("the watch broke".to_owned());
        follower.read(entries, &trust);
        assert!(Arc::ptr_eq(&first, &trust.load_full().expect("it stays")));
        assert_eq!(follower.complaint, None);
    }

    #[test]
    fn a_missing_right_is_said_with_its_remedy() {
        let status = serde_json::json!({"code": 403, "reason": "Forbidden", "message": "no"});
        let status = serde_json::from_value(status).expect("a Status");
        let error = watcher::Error::InitialListFailed(kube::Error::Api(status));
        let why = explained(&error);
        assert!(
            why.contains("kube-system/extension-apiserver-authentication-reader"),
            "{why}"
        );
    }
}
