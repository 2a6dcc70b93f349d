//! A run while it goes on: the picture on a terminal or a line per second, the page for Prometheus, and what ends it
//! early: the scenario's safety, and thresholds that abort.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

use rustix::termios::tcgetwinsize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::judge::threshold;
use crate::measured::{Progress, SoFar};
use crate::observe::{self, Observer};
use crate::recording::{Ended, Metric, Read, Recording, Service};
use crate::report::terminal::live::Live as Picture;
use crate::report::{exposition, terminal};

/// How wide a terminal is that does not say.
const COLUMNS: usize = 80;

/// What is known of a run until now.
#[derive(Debug)]
pub(super) struct Live {
    /// The recording without what only its end tells.
    pub(super) recording: Recording,
    /// What came of each service's load until now.
    pub(super) so_far: BTreeMap<String, watch::Receiver<SoFar>>,
    /// Who looks at the cluster.
    pub(super) observer: Option<Arc<Observer>>,
    /// Where the page goes that Prometheus reads.
    pub(super) page: Option<watch::Sender<Arc<String>>>,
    /// Ends the run.
    pub(super) cancel: CancellationToken,
}

/// What is known of a run when it has ended.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The requests in flight at the end of each second.
    pub(super) in_flight: BTreeMap<u64, u64>,
    /// Why it ended before its time.
    pub(super) ended: Option<Ended>,
}

impl Live {
    /// Follows the seconds of all services to their end.
    pub(super) async fn follow(
        mut self,
        mut seconds: mpsc::Receiver<(String, Progress)>,
    ) -> Followed {
        let mut in_flight = BTreeMap::new();
        let mut picture = std::io::stderr().is_terminal().then(Picture::default);
        while let Some((service, second)) = seconds.recv().await {
            let now_s = (second.second + 1) as f64;
            *in_flight.entry(second.second + 1).or_default() += second.in_flight;
            self.look(now_s);
            self.show(picture.as_mut(), &service, second);
            if let Some(page) = &self.page {
                page.send_replace(Arc::new(exposition::page(&self.recording)));
            }
            self.end_if_due(now_s, picture.as_mut());
        }
        if let Some(picture) = &mut picture {
            put(&picture.erase());
        }
        Followed {
            in_flight,
            ended: self.recording.about.ended,
        }
    }

    /// Takes over what the engines and the observer know.
    fn look(&mut self, now_s: f64) {
        for (name, so_far) in &mut self.so_far {
            let so_far = so_far.borrow_and_update();
            let service = self.recording.services.entry(name.clone()).or_default();
            service.load.counts = so_far.counts;
            service.load.late = so_far.late;
            service.load.latency = so_far.latency.clone();
            service.load.requests = so_far.requests.clone();
            service.load.slots = so_far.slots.clone();
        }
        for (name, live) in self.observer.iter().flat_map(|observer| observer.live()) {
            let service = self.recording.services.entry(name).or_default();
            take_over(service, live, now_s);
        }
    }

    fn show(&self, picture: Option<&mut Picture>, service: &str, second: Progress) {
        match picture {
            Some(picture) => {
                picture.tell(service, second);
                let columns = tcgetwinsize(std::io::stderr()).map(|size| usize::from(size.ws_col));
                let columns = columns.ok().filter(|columns| 0 < *columns);
                put(&picture.redraw(&self.recording, columns.unwrap_or(COLUMNS)));
            }
            None => eprintln!("{}", terminal::second(&self.recording, service, &second)),
        }
    }

    fn end_if_due(&mut self, now_s: f64, picture: Option<&mut Picture>) {
        if self.cancel.is_cancelled() || !self.recording.scenario.may_end_early() {
            return;
        }
        let unsafe_now = threshold::safety_stop(&self.recording, now_s).map(Ended::Safety);
        let ended =
            unsafe_now.or_else(|| threshold::aborts(&self.recording, now_s).map(Ended::Threshold));
        if let Some(Ended::Safety(why) | Ended::Threshold(why)) = &ended {
            if let Some(picture) = picture {
                put(&picture.erase());
            }
            eprintln!("ending the run: {why}");
            self.cancel.cancel();
        }
        self.recording.about.ended = ended;
    }
}

/// What is known of a service of the cluster, as the last look of its recording.
fn take_over(service: &mut Service, live: observe::Live, now_s: f64) {
    let replicas = &mut service.replicas;
    for (steps, seen) in [
        (&mut replicas.desired, live.desired),
        (&mut replicas.current, live.current),
        (&mut replicas.spec, live.spec),
        (&mut replicas.ready, live.ready),
        (&mut replicas.endpoints, live.endpoints),
    ] {
        steps.push(now_s, seen);
    }
    let metrics = live.metrics.into_iter().map(|metric| Metric {
        name: metric.name,
        target: metric.target,
        reads: vec![Read {
            t_s: now_s,
            value: metric.value,
            age_s: None,
            error: None,
        }],
        ..Metric::default()
    });
    service.metrics = metrics.collect();
}

/// Writes to the terminal; what it does not take is lost, as it is only a picture.
fn put(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
