//! A service: its versions, its Deployment, its pods, and which of them is asked next.

use taffrail_loadtest::scenario::{App, Calls};

use super::deployment::Deployment;
use super::requests::Deadlines;
use super::scaler::Scaler;

/// A service. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Every version there was, in the order of their rollouts.
    pub(super) versions: Vec<Version>,
    /// The versions that were wanted before, for an undo.
    pub(super) wanted_before: Vec<u32>,
    pub(super) deployment: Deployment,
    /// Its pods that have not ended, oldest first.
    pub(super) pods: Vec<u32>,
    /// Those that serve, oldest first, and whose turn it is.
    endpoints: Vec<u32>,
    turn: usize,
    /// Times as slow as its versions say.
    pub(super) slowdown: f64,
    pub(super) scaler: Option<Scaler>,
    /// When the calls of its requests are given up.
    pub(super) deadlines: Deadlines,
}

/// How the pods of a version behave.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) app: App,
    /// The service that it calls.
    pub(super) calls: Option<(usize, Calls)>,
}

impl Service {
    pub(super) fn new(name: &str, replicas: u32) -> Self {
        Self {
            name: name.to_owned(),
            versions: Vec::new(),
            wanted_before: Vec::new(),
            deployment: Deployment::new(replicas),
            pods: Vec::new(),
            endpoints: Vec::new(),
            turn: 0,
            slowdown: 1.0,
            scaler: None,
            deadlines: Deadlines::default(),
        }
    }

    pub(super) fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The first so many of those that serve, the oldest.
    pub(super) fn first_endpoints(&self, pods: usize) -> &[u32] {
        &self.endpoints[..pods.min(self.endpoints.len())]
    }

    pub(super) fn add_endpoint(&mut self, pod: u32) {
        self.endpoints.push(pod);
    }

    /// Removes a pod from those that serve; whether it was one.
    pub(super) fn remove_endpoint(&mut self, pod: u32) -> bool {
        let before = self.endpoints.len();
        self.endpoints.retain(|endpoint| *endpoint != pod);
        self.endpoints.len() < before
    }

    /// The pod for the next request: each in turn. `None` when there is none.
    pub(super) fn next_endpoint(&mut self) -> Option<u32> {
        let place = if self.turn < self.endpoints.len() {
            self.turn
        } else {
            0
        };
        self.turn = place + 1;
        self.endpoints.get(place).copied()
    }
}
