//! A run while it goes on: a line per second, the page for Prometheus, and the scenario's safety, which ends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::measured::{Progress, SoFar};
use crate::recording::Recording;
use crate::report::{exposition, terminal};

/// What is known of a run until now.
#[derive(Debug)]
pub(super) struct Live {
    /// The recording without what only its end tells.
    pub(super) recording: Recording,
    /// What came of each service's load until now.
    pub(super) so_far: BTreeMap<String, watch::Receiver<SoFar>>,
    /// Where the page goes that Prometheus reads.
    pub(super) page: Option<watch::Sender<Arc<String>>>,
    /// Ends the run.
    pub(super) cancel: CancellationToken,
}

impl Live {
    /// Follows the seconds of all services to their end. Returns the requests in flight at the end of each second.
    pub(super) async fn follow(
        mut self,
        mut seconds: mpsc::Receiver<(String, Progress)>,
    ) -> BTreeMap<u64, u64> {
        let mut in_flight = BTreeMap::new();
        let mut failing: BTreeMap<String, Duration> = BTreeMap::new();
        while let Some((service, second)) = seconds.recv().await {
            eprintln!("{}", terminal::second(&self.recording, &service, &second));
            *in_flight.entry(second.second + 1).or_default() += second.in_flight;
            self.publish();
            let lasted = failing.entry(service).or_default();
            if self.fails(&second) {
                *lasted += Duration::from_secs(1);
            } else {
                *lasted = Duration::ZERO;
            }
            let safety = &self.recording.scenario.safety;
            if !lasted.is_zero() && *safety.for_ <= *lasted {
                self.cancel.cancel();
            }
        }
        in_flight
    }

    /// Whether more of the second's requests failed than the scenario's safety allows.
    fn fails(&self, second: &Progress) -> bool {
        let ended = second.counts.ok + second.counts.errors();
        let share = second.counts.errors() as f64 / ended.max(1) as f64;
        self.recording.scenario.safety.max_error_rate < share
    }

    fn publish(&mut self) {
        let Some(page) = &self.page else { return };
        for (service, so_far) in &mut self.so_far {
            let so_far = so_far.borrow_and_update();
            let load = &mut self
                .recording
                .services
                .entry(service.clone())
                .or_default()
                .load;
            load.counts = so_far.counts;
            load.late = so_far.late;
            load.latency = so_far.latency.clone();
        }
        page.send_replace(Arc::new(exposition::page(&self.recording)));
    }
}
