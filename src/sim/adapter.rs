//! The adapter as it is: the real engine, fed with what pods and Redis show when they are read, and asked by way of its
//! snapshots. Only the sockets are missing between the two, and the thousandths of a Quantity are made here.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::snapshot::{Item, Pods, Snapshot};
use crate::model::health::{Failure, FailureReason};
use crate::model::id::TargetId;
use crate::model::phase::Phase;
use crate::model::pod;
use crate::model::quantity;
use crate::model::reading::{Batch, Reading, SeriesReading};
use crate::model::selector::Selector;

use super::pod::{Code, Pod};
use super::scaler::APP_LABEL;
use super::{NANOS_PER_S, Of, Source, timestamp};

/// A snapshot every second, as the adapter makes them.
pub(super) const TICK: i64 = NANOS_PER_S;

/// New targets are read within this time of their start, however long their interval is.
const FIRST_WITHIN: i64 = NANOS_PER_S;

/// The golden ratio's fraction: multiples of it spread targets over an interval as evenly as their number allows.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// How long a read takes; nothing is made of it but the engine's own figures.
const READ: Duration = Duration::from_millis(1);

/// The key of Redis' only series.
const INCR: u64 = 1;

/// The adapter and what it reads.
#[derive(Debug)]
pub(super) struct Adapter {
    engine: Engine,
    sources: Vec<Source>,
    /// The codes whose series each source lets through.
    matched: Vec<[bool; Code::ALL.len()]>,
    targets: Vec<Target>,
    snapshot: Snapshot,
    is_up: bool,
    /// The services' names by their places, where pods are asked for one by one; else empty.
    apps: Vec<Arc<str>>,
    /// Filled again and again, so that a read allocates nothing.
    scratch: Reading,
}

/// Something that is read.
#[derive(Debug)]
struct Target {
    /// Which of the sources it belongs to.
    source: usize,
    id: TargetId,
    /// `None` for Redis.
    pod: Option<u32>,
    /// When it is read again after the next time.
    to_second: i64,
    reads: u32,
}

/// The Redis server that visits are counted in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redis {
    pub(super) is_up: bool,
    pub(super) commands: u64,
}

/// What was read of a metric.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    /// The items, in thousandths; with the pod's name where it is of one.
    pub(super) items: Vec<(Option<Arc<str>>, i64)>,
    /// How old the oldest read behind them is, in nanoseconds.
    pub(super) age: i64,
}

impl Adapter {
    pub(super) fn new(sources: Vec<Source>, apps: Vec<Arc<str>>) -> Self {
        let matched = sources.iter().map(|source| match &source.of {
            Of::Pods { matchers, .. } => Code::matched(matchers),
            Of::Redis => Code::matched(&Default::default()),
        });
        let matched = matched.collect();
        let mut adapter = Self {
            engine: Engine::default(),
            matched,
            sources,
            targets: Vec::new(),
            snapshot: Snapshot::default(),
            is_up: false,
            apps,
            scratch: Reading::default(),
        };
        adapter.start();
        adapter
    }

    /// Begins with nothing known, as a process does.
    fn start(&mut self) {
        self.engine = Engine::default();
        self.engine
            .configure(self.sources.iter().map(|source| source.spec.clone()));
        self.snapshot = Snapshot::default();
        self.is_up = true;
    }

    /// Ends the process.
    pub(super) fn stop(&mut self) {
        self.is_up = false;
    }

    /// Starts it again; it finds the pods there are.
    pub(super) fn restart(&mut self, now: i64, pods: &[Pod]) {
        self.start();
        for target in &self.targets {
            let phase = match target.pod {
                Some(pod) if pods[pod as usize].ended => continue,
                Some(pod) => phase_of(&pods[pod as usize]),
                None => Phase::default(),
            };
            self.engine.expect(&target.id, phase, timestamp(now));
            if let Some(pod) = target.pod {
                identify(
                    &mut self.engine,
                    &self.apps,
                    &target.id,
                    &pods[pod as usize],
                );
            }
        }
    }

    /// Takes in that a pod has started, and says which targets it is and when each is read first.
    pub(super) fn discover(&mut self, pod: u32, pods: &[Pod], now: i64) -> Vec<(u32, i64)> {
        let held = &pods[pod as usize];
        let reads = |source: &Source| matches!(&source.of, Of::Pods { service, .. } if *service == held.service);
        let sources: Vec<usize> = (0..self.sources.len())
            .filter(|i| reads(&self.sources[*i]))
            .collect();
        let add = |source| {
            let (target, at) = self.add(source, &held.name, Some(pod), phase_of(held), now);
            if self.is_up {
                let id = &self.targets[target as usize].id;
                identify(&mut self.engine, &self.apps, id, held);
            }
            (target, at)
        };
        sources.into_iter().map(add).collect()
    }

    /// The targets that are there from the start: Redis.
    pub(super) fn discover_redis(&mut self, now: i64) -> Vec<(u32, i64)> {
        let is_redis = |source: &Source| matches!(source.of, Of::Redis);
        let sources: Vec<usize> = (0..self.sources.len())
            .filter(|i| is_redis(&self.sources[*i]))
            .collect();
        sources
            .into_iter()
            .map(|source| self.add(source, "redis", None, Phase::default(), now))
            .collect()
    }

    /// Each target has its place on the interval's grid; the first read comes soon, and the second on the grid, half an
    /// interval to one and a half later.
    fn add(
        &mut self,
        source: usize,
        name: &str,
        pod: Option<u32>,
        phase: Phase,
        now: i64,
    ) -> (u32, i64) {
        let spec = &self.sources[source].spec;
        let interval = super::nanos(spec.interval);
        let number = self.targets.len() as u32;
        let share = (f64::from(number) * GOLDEN).fract();
        let first = (interval.min(FIRST_WITHIN) as f64 * share) as i64;
        let to_place = (interval as f64 * share) as i64 - first;
        let to_second = if interval / 2 <= to_place {
            to_place
        } else {
            to_place + interval
        };
        let id = TargetId::new(&spec.id, name);
        if self.is_up {
            self.engine.expect(&id, phase, timestamp(now));
        }
        self.targets.push(Target {
            source,
            id,
            pod,
            to_second,
            reads: 0,
        });
        (number, now + first)
    }

    /// Takes in that a pod's phase changed.
    pub(super) fn enter(&mut self, pod: u32, pods: &[Pod], now: i64) {
        for target in self.targets.iter().filter(|target| target.pod == Some(pod)) {
            if self.is_up {
                let pod = &pods[pod as usize];
                self.engine
                    .expect(&target.id, phase_of(pod), timestamp(now));
                identify(&mut self.engine, &self.apps, &target.id, pod);
            }
        }
    }

    /// Takes in that a pod is gone.
    pub(super) fn forget(&mut self, pod: u32) {
        for target in self.targets.iter().filter(|target| target.pod == Some(pod)) {
            self.engine.forget(&target.id);
        }
    }

    /// The pod that a target is; `None` for Redis.
    pub(super) fn pod_of(&self, number: u32) -> Option<u32> {
        self.targets[number as usize].pod
    }

    /// Reads a target, and says when it is read next; `None` when it is gone.
    pub(super) fn read(
        &mut self,
        number: u32,
        pod: Option<&Pod>,
        redis: Redis,
        wants_token: bool,
        now: i64,
    ) -> Option<i64> {
        let target = &mut self.targets[number as usize];
        let source = &self.sources[target.source];
        if pod.is_some_and(|pod| pod.ended) {
            return None;
        }
        target.reads = target.reads.saturating_add(1);
        let next = now
            + if target.reads == 1 {
                target.to_second
            } else {
                super::nanos(source.spec.interval)
            };
        if !self.is_up {
            return Some(next);
        }
        let mut reading = std::mem::take(&mut self.scratch);
        reading.clear();
        let read = match (&source.of, pod) {
            (
                Of::Pods {
                    in_flight,
                    cpu,
                    has_token,
                    ..
                },
                Some(pod),
            ) => {
                if wants_token && !has_token {
                    Err(Failure::new(
                        FailureReason::Unauthorized,
                        "the target answered 401 to a scrape without a token",
                    ))
                } else {
                    pod.read(&self.matched[target.source], &mut reading);
                    reading.in_flight = in_flight.then_some(f64::from(pod.in_flight));
                    reading.cpu_seconds = cpu.then_some(pod.cpu_s);
                    Ok(())
                }
            }
            _ if redis.is_up => {
                reading.series.push(SeriesReading {
                    key: INCR,
                    count: redis.commands as f64,
                    sum: None,
                    ..SeriesReading::default()
                });
                Ok(())
            }
            _ => Err(Failure::new(FailureReason::Refused, "nobody listens there")),
        };
        let target = target.id.clone();
        match read {
            Ok(()) => {
                let batch = Batch {
                    target,
                    at: timestamp(now),
                    took: READ,
                    reading,
                };
                self.engine.ingest(&batch);
                self.scratch = batch.reading;
            }
            Err(failure) => {
                self.engine.fail(&target, failure, timestamp(now));
                self.scratch = reading;
            }
        }
        Some(next)
    }

    /// Publishes a snapshot.
    pub(super) fn tick(&mut self, now: i64) {
        if self.is_up {
            self.snapshot = self.engine.evaluate(timestamp(now));
        }
    }

    /// The service's snapshot is asked as the API server asks for an external metric: its values in thousandths, as a
    /// Quantity carries them, or what is said in their stead.
    pub(super) fn external(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Selector,
        now: i64,
    ) -> Result<Answered, String> {
        self.can_answer()?;
        let items = self
            .snapshot
            .read(namespace, metric, selector)
            .map_err(|refusal| refusal.message().to_owned())?;
        answered(items.iter().map(|item| (None, item)), now)
    }

    /// The same of single pods, for a metric of `custom.metrics.k8s.io`.
    pub(super) fn of_pods(
        &self,
        namespace: &str,
        metric: &str,
        pods: &Selector,
        now: i64,
    ) -> Result<Answered, String> {
        self.can_answer()?;
        let series = Selector::default();
        let items = self
            .snapshot
            .read_pods(namespace, metric, Pods::Matching(pods), &series);
        let items = items.map_err(|refusal| refusal.message().to_owned())?;
        answered(
            items
                .iter()
                .map(|pod| (Some(Arc::clone(&pod.name)), &pod.item)),
            now,
        )
    }

    fn can_answer(&self) -> Result<(), String> {
        if !self.is_up {
            return Err("the server is currently unable to handle the request".to_owned());
        }
        if self.snapshot.at().ms() == 0 {
            return Err("no metrics have been evaluated yet".to_owned());
        }
        Ok(())
    }
}

fn answered<'i>(
    items: impl Iterator<Item = (Option<Arc<str>>, &'i Item)>,
    now: i64,
) -> Result<Answered, String> {
    let mut answer = Answered {
        items: Vec::new(),
        age: 0,
    };
    for (pod, item) in items {
        let milli =
            quantity::milli_from_value(item.value).ok_or("a value that no Quantity can hold")?;
        let age = timestamp(now).since(item.at);
        answer.age = answer.age.max(super::nanos(age));
        answer.items.push((pod, milli));
    }
    Ok(answer)
}

/// Says which pod a target is, where that is asked for.
fn identify(engine: &mut Engine, apps: &[Arc<str>], target: &TargetId, pod: &Pod) {
    if let Some(app) = apps.get(pod.service) {
        let labels = [(APP_LABEL.to_owned(), app.to_string())].into();
        engine.identify(
            target,
            pod::Pod {
                name: Arc::clone(&pod.name),
                labels: Arc::new(labels),
            },
        );
    }
}

fn phase_of(pod: &Pod) -> Phase {
    match (pod.deleted, pod.ready) {
        (Some(_), _) => Phase::Leaving,
        (None, Some(since)) => Phase::Ready {
            since: timestamp(since),
        },
        (None, None) => Phase::Starting,
    }
}
