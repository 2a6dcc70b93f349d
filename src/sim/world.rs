//! The world of a run and its clock: takes what is due next, and lets it happen. Pods come and go here as a Deployment
//! and a kubelet have it; what requests do is [`super::flow`]'s.

use std::ops::ControlFlow;
use std::sync::Arc;

use taffrail_loadtest::measured::ErrorClass;
use taffrail_loadtest::scenario::Action;
use taffrail_loadtest::service_time::ServiceTimes;

use crate::hpa::Decision;

use super::adapter::{Adapter, Redis, TICK};
use super::clients::Clients;
use super::notes::Notes;
use super::pod::Pod;
use super::queue::{Event, Queue};
use super::requests::Requests;
use super::scaler::{CPU_PERIOD, SYNC_PERIOD};
use super::service::Service;
use super::{NANOS_PER_S, Plan, nanos};

/// Pods of the beginning have been there for this long: nothing about them is new.
const LONG_AGO: i64 = 3600 * NANOS_PER_S;

/// How often whoever waits is told how far the run is: often enough to end it soon, and no cost.
const WATCH_EVERY: i64 = 10 * NANOS_PER_S;

/// Everything there is. Times are nanoseconds from the first request's moment.
#[derive(Debug)]
pub(super) struct World<'p> {
    pub(super) plan: &'p Plan,
    pub(super) now: i64,
    pub(super) queue: Queue,
    pub(super) services: Vec<Service>,
    /// Every pod there was; its number is its place.
    pub(super) pods: Vec<Pod>,
    pub(super) loads: Vec<Clients>,
    pub(super) requests: Requests,
    pub(super) adapter: Adapter,
    pub(super) redis: Redis,
    pub(super) notes: Notes,
    /// From one look at the metrics to the next.
    pub(super) look_every: i64,
    /// When somebody asks the adapter next: each service's HPA, never where there is none, and whoever watches.
    pub(super) asks_at: Vec<i64>,
    /// Whether the pods of the beginning are being set up.
    pub(super) is_first: bool,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Next {
    Planned,
    Ask(usize),
    Timeout(usize),
    CallLate(usize),
}

impl World<'_> {
    /// Sets the stage at `start`, before any request.
    pub(super) fn begin(&mut self, start: i64) {
        self.now = start;
        for (target, at) in self.adapter.discover_redis(start) {
            self.queue.push(at, Event::Scrape(target));
        }
        for service in 0..self.services.len() {
            self.notes
                .scaled(service, start, self.services[service].deployment.replicas());
            self.reconcile(service);
        }
        self.is_first = false;
        // A snapshot is made before whoever asks at its moment.
        self.queue.push(start, Event::Tick);
        self.queue.push(start, Event::Measure);
        self.queue.push(start, Event::Look);
        if let Some(watcher) = self.asks_at.last_mut() {
            *watcher = start;
        }
        for service in 0..self.services.len() {
            if self.services[service].scaler.is_some() {
                let first = start + self.plan.phase(service, SYNC_PERIOD);
                self.asks_at[service] = first;
                self.queue.push(first, Event::Sync(service as u32));
            }
        }
        for (event, number) in self.plan.scenario.events.iter().zip(0..) {
            self.queue.push(nanos(*event.at), Event::Act(number));
        }
        for load in 0..self.loads.len() {
            let clients = &self.loads[load];
            for _ in 0..clients.users() {
                self.queue
                    .push(clients.end().min(clients.begin()), Event::User(load as u32));
            }
            self.queue
                .push(clients.give_up(), Event::GiveUp(load as u32));
        }
    }

    /// Runs until `end`, or until every load has ended and nothing of it is under way. `watch` is told now and then
    /// how far the run is, in seconds, and ends it when it says so; whether it did.
    pub(super) fn run(&mut self, end: i64, watch: &mut dyn FnMut(f64) -> ControlFlow<()>) -> bool {
        let mut watched = self.now;
        while let Some((at, next)) = self.next() {
            if end < at {
                break;
            }
            self.now = at;
            if watched + WATCH_EVERY <= at {
                watched = at;
                if watch(at as f64 / NANOS_PER_S as f64).is_break() {
                    return true;
                }
            }
            self.happen(next);
        }
        self.now = self.now.max(end);
        false
    }

    /// The earliest of everything; at one moment what was planned first, then answers that come too late, then those
    /// who ask.
    fn next(&mut self) -> Option<(i64, Next)> {
        let mut next = self.queue.next_at().map(|at| (at, Next::Planned));
        for (number, load) in self.loads.iter().enumerate() {
            if let Some(at) = load.next_at()
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, Next::Ask(number)));
            }
        }
        let mut before = match next {
            Some((at, Next::Ask(_))) => at + 1,
            Some((at, _)) => at,
            None => i64::MAX,
        };
        let requests = &self.requests;
        for (number, service) in self.services.iter_mut().enumerate() {
            if let Some(at) = service.deadlines.next_before(before, requests) {
                (before, next) = (at, Some((at, Next::CallLate(number))));
            }
        }
        for (number, load) in self.loads.iter_mut().enumerate() {
            if let Some(at) = load.deadlines.next_before(before, requests) {
                (before, next) = (at, Some((at, Next::Timeout(number))));
            }
        }
        next
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Planned => {
                if let Some(event) = self.queue.pop() {
                    self.planned(event);
                }
            }
            Next::Ask(load) => {
                self.loads[load].take_next();
                self.ask(load, self.now);
            }
            Next::Timeout(load) => {
                if let Some(request) = self.loads[load].deadlines.take() {
                    self.time_out(request, Some(Err(ErrorClass::Timeout)));
                }
            }
            Next::CallLate(service) => {
                if let Some(request) = self.services[service].deadlines.take() {
                    self.call_is_late(request);
                }
            }
        }
    }

    fn planned(&mut self, event: Event) {
        match event {
            Event::Worked(request) => self.worked(request),
            Event::Dial(request) => self.dial(request),
            Event::User(load) => {
                if self.now < self.loads[load as usize].end() {
                    self.ask(load as usize, self.now);
                }
            }
            Event::GiveUp(load) => {
                for request in self.requests.of_load(load) {
                    self.time_out(request, None);
                }
            }
            Event::Ready(pod) => self.ready(pod),
            Event::Kill(pod) => self.kill(pod),
            Event::Scrape(target) => self.scrape(target),
            Event::Tick => self.tick(),
            Event::Look => self.look(),
            Event::Measure => self.measure(),
            Event::Sync(service) => self.sync(service as usize),
            Event::Act(number) => self.act(number),
            Event::Over(number) => self.over(number),
        }
    }

    // --- The adapter and who asks it.

    fn scrape(&mut self, target: u32) {
        let pod = self
            .adapter
            .pod_of(target)
            .map(|pod| &self.pods[pod as usize]);
        let app = pod.map(|pod| &self.services[pod.service].versions[pod.version as usize].app);
        let wants_token = app.is_some_and(|app| app.token.is_some());
        if let Some(next) = self
            .adapter
            .read(target, pod, self.redis, wants_token, self.now)
        {
            self.queue.push(next, Event::Scrape(target));
        }
    }

    /// A snapshot, unless the next one comes before anybody asks.
    fn tick(&mut self) {
        let next = self.now + TICK;
        if self.asks_at.iter().any(|at| *at <= next) {
            self.adapter.tick(self.now);
        }
        let in_flight = self.loads.iter().map(Clients::in_flight).sum();
        self.notes.second(self.now, in_flight);
        self.queue.push(next, Event::Tick);
    }

    fn look(&mut self) {
        for (number, service) in self.services.iter().enumerate() {
            let Some(scaler) = &service.scaler else {
                continue;
            };
            let replicas = service.deployment.replicas();
            self.notes.read(
                number,
                self.now,
                scaler.look(&self.adapter, replicas, self.now),
            );
        }
        let next = self.now + self.look_every;
        if let Some(watcher) = self.asks_at.last_mut() {
            *watcher = next;
        }
        self.queue.push(next, Event::Look);
    }

    fn measure(&mut self) {
        for service in &mut self.services {
            if let Some(scaler) = &mut service.scaler {
                scaler.measure(&self.pods, &service.pods, self.now);
            }
        }
        self.queue.push(self.now + CPU_PERIOD, Event::Measure);
    }

    fn sync(&mut self, number: usize) {
        let service = &mut self.services[number];
        let replicas = service.deployment.replicas();
        let Some(scaler) = &mut service.scaler else {
            return;
        };
        let decision = scaler.sync(&self.adapter, &self.pods, &service.pods, replicas, self.now);
        self.notes
            .decided(number, self.now, self.active(number), &decision);
        self.follow(number, &decision);
        let next = self.now + SYNC_PERIOD;
        self.asks_at[number] = next;
        self.queue.push(next, Event::Sync(number as u32));
    }

    fn follow(&mut self, number: usize, decision: &Decision) {
        let desired = u32::try_from(decision.desired).unwrap_or(0);
        if desired == self.services[number].deployment.replicas() {
            return;
        }
        self.services[number].deployment.scale(desired);
        self.notes.scaled(number, self.now, desired);
        self.reconcile(number);
    }

    fn active(&self, number: usize) -> u32 {
        let pods = self.services[number].pods.iter();
        pods.filter(|pod| self.pods[**pod as usize].is_active())
            .count() as u32
    }

    // --- Pods.

    /// Brings the pods of a service to what its Deployment wants.
    fn reconcile(&mut self, number: usize) {
        let Service {
            deployment, pods, ..
        } = &mut self.services[number];
        let all = &self.pods;
        deployment.reconcile(|version| {
            let serves =
                |pod: &&u32| all[**pod as usize].serves() && all[**pod as usize].version == version;
            pods.iter().filter(serves).count() as u32
        });
        let mut wanted: Vec<(u32, u32)> = deployment
            .sets()
            .iter()
            .map(|set| (set.version, set.replicas))
            .collect();
        // Versions that are wanted no more have pods all the same.
        for pod in pods.iter().map(|pod| &all[*pod as usize]) {
            if !wanted.iter().any(|(version, _)| *version == pod.version) {
                wanted.push((pod.version, 0));
            }
        }
        for (version, replicas) in wanted {
            self.bring(number, version, replicas as usize);
        }
    }

    /// Starts pods of a version, or takes some away: first those that are not ready, then those that became so last.
    fn bring(&mut self, number: usize, version: u32, replicas: usize) {
        let of_version = |pod: &u32| {
            let pod = &self.pods[*pod as usize];
            pod.version == version && pod.is_active()
        };
        let mut held: Vec<u32> = self.services[number]
            .pods
            .iter()
            .copied()
            .filter(of_version)
            .collect();
        for _ in held.len()..replicas {
            self.start_pod(number, version);
        }
        if replicas < held.len() {
            held.sort_by_key(|pod| (self.pods[*pod as usize].ready.unwrap_or(i64::MAX), *pod));
            for pod in held.split_off(replicas) {
                self.delete(pod);
            }
        }
    }

    fn start_pod(&mut self, number: usize, version: u32) {
        let service = &mut self.services[number];
        let app = &service.versions[version as usize].app;
        let pod = self.pods.len() as u32;
        let seed = self.plan.scenario.seed.wrapping_add(u64::from(pod));
        let Ok(times) = ServiceTimes::new(app.service_time.seconds(), app.service_cv, seed) else {
            return;
        };
        // Those of the beginning have been there, ready, for a long time.
        let is_first = self.is_first;
        let started = if is_first {
            self.now - LONG_AGO
        } else {
            self.now
        };
        let name: Arc<str> = format!("{}-{}", service.name, pod + 1).into();
        let startup = app.startup.map(|startup| nanos(*startup));
        self.pods.push(Pod::new(
            (number, version),
            name,
            pod + 1,
            started,
            times,
            app.cpu_request,
        ));
        service.pods.push(pod);
        if is_first {
            self.pods[pod as usize].ready = startup.map(|startup| started + startup);
        }
        for (target, at) in self.adapter.discover(pod, &self.pods, self.now) {
            self.queue.push(at, Event::Scrape(target));
        }
        match startup {
            Some(_) if is_first => {
                self.serve(pod);
            }
            Some(startup) => self.queue.push(self.now + startup, Event::Ready(pod)),
            None => {}
        }
    }

    fn ready(&mut self, number: u32) {
        let pod = &mut self.pods[number as usize];
        if !pod.is_active() {
            return;
        }
        pod.ready = Some(self.now);
        self.adapter.enter(number, &self.pods, self.now);
        self.serve(number);
        self.reconcile(self.pods[number as usize].service);
    }

    fn serve(&mut self, number: u32) {
        let pod = &mut self.pods[number as usize];
        let service = &mut self.services[pod.service];
        service.add_endpoint(number);
        pod.endpoint = self.notes.number(pod, self.is_first);
        self.notes
            .endpoint(pod, self.now, true, service.endpoints());
    }

    /// Tells a pod to end: it gets no further requests, and has a while for those it has.
    fn delete(&mut self, number: u32) {
        let pod = &mut self.pods[number as usize];
        pod.deleted = Some(self.now);
        let service = &mut self.services[pod.service];
        let drain = nanos(*service.versions[pod.version as usize].app.drain);
        if service.remove_endpoint(number) {
            self.notes
                .endpoint(pod, self.now, false, service.endpoints());
        }
        self.adapter.enter(number, &self.pods, self.now);
        if self.pods[number as usize].in_flight == 0 {
            self.end_pod(number);
        } else {
            self.queue.push(self.now + drain, Event::Kill(number));
        }
    }

    fn kill(&mut self, number: u32) {
        for request in self.requests.of_pod(number) {
            self.break_off(request);
        }
        self.end_pod(number);
    }

    pub(super) fn end_pod(&mut self, number: u32) {
        let pod = &mut self.pods[number as usize];
        if pod.ended {
            return;
        }
        pod.ended = true;
        self.services[pod.service]
            .pods
            .retain(|held| *held != number);
        self.adapter.forget(number);
    }

    // --- What the scenario does.

    fn act(&mut self, number: u32) {
        let plan = self.plan;
        let event = &plan.scenario.events[number as usize];
        self.notes.marked(event);
        if let Some(until) = event.until {
            self.queue.push(nanos(*until), Event::Over(number));
        }
        match &event.action {
            Action::Mark => {}
            Action::Rollout { service, app } => {
                let Some(number) = self.service(service) else {
                    return;
                };
                let service = &mut self.services[number];
                service.versions.push(plan.version(app));
                let version = (service.versions.len() - 1) as u32;
                service.wanted_before.push(service.deployment.version());
                self.roll_to(number, version);
            }
            Action::Undo { service } => {
                let Some(number) = self.service(service) else {
                    return;
                };
                if let Some(version) = self.services[number].wanted_before.pop() {
                    self.roll_to(number, version);
                }
            }
            Action::Change {
                service,
                slowdown,
                pods,
            } => self.slow_down(service, *slowdown, *pods),
            Action::StopRedis => self.redis.is_up = false,
            Action::StopMetrics => self.adapter.stop(),
        }
    }

    fn over(&mut self, number: u32) {
        let plan = self.plan;
        match &plan.scenario.events[number as usize].action {
            Action::Change { service, pods, .. } => self.slow_down(service, 1.0, *pods),
            // A server that starts again counts from zero.
            Action::StopRedis => {
                self.redis = Redis {
                    is_up: true,
                    commands: 0,
                };
            }
            Action::StopMetrics => self.adapter.restart(self.now, &self.pods),
            _ => {}
        }
    }

    /// What a service does takes so many times as long: everywhere, or with the first so many pods that serve.
    fn slow_down(&mut self, service: &str, slowdown: f64, pods: Option<u32>) {
        let Some(number) = self.service(service) else {
            return;
        };
        let service = &mut self.services[number];
        let Some(pods) = pods else {
            service.slowdown = slowdown;
            return;
        };
        let was_slow = |pod: &&u32| self.pods[**pod as usize].slowdown != 1.0;
        let meant: Vec<u32> = if slowdown == 1.0 {
            // Those that were meant before, wherever they are in the order by now.
            service.pods.iter().filter(was_slow).copied().collect()
        } else {
            service.first_endpoints(pods as usize).to_vec()
        };
        for pod in meant {
            self.pods[pod as usize].slowdown = slowdown;
        }
    }

    fn roll_to(&mut self, number: usize, version: u32) {
        self.services[number].deployment.roll_to(version);
        self.reconcile(number);
    }

    pub(super) fn service(&self, name: &str) -> Option<usize> {
        self.services
            .iter()
            .position(|service| service.name == name)
    }
}
