//! The way of a request: to a pod, through its line, to a worker, to the service that it calls, and back to whoever
//! asked. It does what the sample app does, in its order.

use taffrail_loadtest::measured::ErrorClass;

use super::pod::{Code, Pod};
use super::queue::Event;
use super::requests::{Client, Ref, Request, Stage};
use super::world::World;
use super::{NANOS_PER_S, nanos};

/// A user of a closed loop asks again no sooner than this after the last time: without it, one who is refused at once
/// would ask again and again within the same moment.
const ROUND_TRIP_MIN: i64 = NANOS_PER_S / 1000;

/// What became of a request, as who asked sees it.
type Outcome = Result<(), ErrorClass>;

impl World<'_> {
    /// A request of an open loop is due.
    pub(super) fn ask(&mut self, load: usize, intended: i64) {
        let clients = &mut self.loads[load];
        let (service, may_send) = (clients.service, clients.may_send());
        self.notes.offered(service, intended, may_send);
        if !may_send {
            return;
        }
        let client = Client::Load {
            load: load as u32,
            intended,
        };
        let Some(request) = self.send(service, client) else {
            return self.tell(None, client, Err(ErrorClass::NoEndpoint));
        };
        // It may have been answered already, by a pod whose line is full.
        if self.requests.get(request).is_some() {
            self.loads[load].wait_for(request, intended);
        }
    }

    /// Sends a request to a pod of `service`; `None` when there is none. It may be over when this returns.
    fn send(&mut self, service: usize, client: Client) -> Option<Ref> {
        let pod = self.services[service].next_endpoint()?;
        let request = self.requests.insert(Request {
            pod,
            arrived: self.now,
            client,
            stage: Stage::Arriving,
        });
        self.arrive(request, pod, client);
        Some(request)
    }

    fn arrive(&mut self, request: Ref, number: u32, client: Client) {
        let pod = &mut self.pods[number as usize];
        pod.in_flight += 1;
        let app = &self.services[pod.service].versions[pod.version as usize].app;
        let has_token = match client {
            Client::Load { load, .. } => self.loads[load as usize].has_token,
            // Services know each other's tokens.
            Client::Request(_) => true,
        };
        if app.token.is_some() && !has_token {
            self.answer(request, Code::Unauthorized);
        } else if pod.busy < app.workers {
            pod.busy += 1;
            self.work(request, number);
        } else if pod.waiting.len() < app.queue {
            pod.waiting.join(request);
            self.set_stage(request, Stage::Waiting);
        } else {
            self.answer(request, Code::Unavailable);
        }
    }

    /// A worker takes up a request.
    fn work(&mut self, request: Ref, number: u32) {
        let pod = &mut self.pods[number as usize];
        let service = &self.services[pod.service];
        let app = &service.versions[pod.version as usize].app;
        let time_s = pod.times.draw();
        // What got slow is behind the pod: it waits longer, and burns no more.
        pod.cpu_s += time_s * app.cpu_share;
        let time_s = time_s * service.slowdown * pod.slowdown;
        self.queue.push(
            self.now + (time_s * NANOS_PER_S as f64) as i64,
            Event::Worked(request),
        );
        self.set_stage(request, Stage::Working);
    }

    /// The work is done: the visit is counted, and the other service called.
    pub(super) fn worked(&mut self, request: Ref) {
        let Some(number) = self.requests.get(request).map(|held| held.pod) else {
            return;
        };
        let pod = &mut self.pods[number as usize];
        let service = &mut self.services[pod.service];
        let version = &service.versions[pod.version as usize];
        // A visit takes Redis a tenth of a millisecond, which nothing here can show; without Redis it is not counted.
        if version.app.redis && self.redis.is_up {
            self.redis.commands += 1;
        }
        let Some((_, calls)) = &version.calls else {
            return self.answer(request, Code::Ok);
        };
        service
            .deadlines
            .push(self.now + nanos(*calls.timeout), request);
        if pod.calls < calls.connections {
            pod.calls += 1;
            self.dial(request);
        } else {
            pod.connecting.join(request);
            self.set_stage(request, Stage::Connecting);
        }
    }

    /// A request has a connection, and sends its call.
    pub(super) fn dial(&mut self, request: Ref) {
        let Some(held) = self.requests.get_mut(request) else {
            return;
        };
        held.stage = Stage::Calling(None);
        let pod = &self.pods[held.pod as usize];
        let version = &self.services[pod.service].versions[pod.version as usize];
        let Some(callee) = version.calls.as_ref().map(|(callee, _)| *callee) else {
            return;
        };
        match self.send(callee, Client::Request(request)) {
            // A call that is over has told so already.
            Some(call) => {
                if let Some(held) = self.requests.get_mut(request)
                    && held.stage == Stage::Calling(None)
                {
                    held.stage = Stage::Calling(Some(call));
                }
            }
            None => self.answer(request, Code::BadGateway),
        }
    }

    /// The deadline of a request's call has come.
    pub(super) fn call_is_late(&mut self, request: Ref) {
        let stage = self.requests.get(request).map(|held| held.stage);
        if let Some(Stage::Connecting | Stage::Calling(_)) = stage {
            self.answer(request, Code::Unavailable);
        }
    }

    /// A pod answers, and who asked is told.
    fn answer(&mut self, request: Ref, code: Code) {
        let outcome = match code {
            Code::Ok => Ok(()),
            Code::Unauthorized | Code::Gone => Err(ErrorClass::ClientStatus),
            Code::BadGateway | Code::Unavailable => Err(ErrorClass::ServerStatus),
        };
        if let Some(held) = self.leave(request, code) {
            self.tell(Some(held.pod), held.client, outcome);
        }
    }

    /// Who asked goes away: nobody is told.
    pub(super) fn cancel(&mut self, request: Ref) {
        self.leave(request, Code::Gone);
    }

    /// The pod that had a request has ended.
    pub(super) fn break_off(&mut self, request: Ref) {
        if let Some(held) = self.leave(request, Code::Gone) {
            self.tell(Some(held.pod), held.client, Err(ErrorClass::Broken));
        }
    }

    /// Nobody waits for a request of a load any more.
    pub(super) fn time_out(&mut self, request: Ref, outcome: Option<Outcome>) {
        let Some(held) = self.leave(request, Code::Gone) else {
            return;
        };
        if let Client::Load { load, intended } = held.client {
            self.end_of(load, intended, Some(held.pod), outcome);
        }
    }

    /// A request leaves its pod, which counts it, and what it held goes to the next one.
    fn leave(&mut self, request: Ref, code: Code) -> Option<Request> {
        let held = self.requests.remove(request)?;
        if let Stage::Calling(Some(call)) = held.stage {
            self.cancel(call);
        }
        let pod = &mut self.pods[held.pod as usize];
        pod.count(code, self.now - held.arrived);
        pod.in_flight -= 1;
        match held.stage {
            Stage::Arriving => {}
            Stage::Waiting => pod.waiting.leave(),
            Stage::Working => self.next_work(held.pod),
            Stage::Connecting => {
                pod.connecting.leave();
                self.next_work(held.pod);
            }
            Stage::Calling(_) => {
                self.next_call(held.pod);
                self.next_work(held.pod);
            }
        }
        let pod = &self.pods[held.pod as usize];
        if pod.deleted.is_some() && pod.in_flight == 0 {
            self.end_pod(held.pod);
        }
        Some(held)
    }

    /// A worker is free.
    fn next_work(&mut self, number: u32) {
        let Pod { waiting, busy, .. } = &mut self.pods[number as usize];
        let requests = &self.requests;
        let waits = |place| {
            requests
                .get(place)
                .is_some_and(|held| held.stage == Stage::Waiting)
        };
        match waiting.next(waits) {
            Some(next) => self.work(next, number),
            None => *busy -= 1,
        }
    }

    /// A connection is free.
    fn next_call(&mut self, number: u32) {
        let Pod {
            connecting, calls, ..
        } = &mut self.pods[number as usize];
        let requests = &self.requests;
        let waits = |place| {
            requests
                .get(place)
                .is_some_and(|held| held.stage == Stage::Connecting)
        };
        match connecting.next(waits) {
            Some(next) => {
                self.set_stage(next, Stage::Calling(None));
                // Planned rather than done: of a long line that all fail, each would wait for the next one's end.
                self.queue.push(self.now, Event::Dial(next));
            }
            None => *calls -= 1,
        }
    }

    /// Tells who asked.
    fn tell(&mut self, pod: Option<u32>, client: Client, outcome: Outcome) {
        match client {
            Client::Load { load, intended } => self.end_of(load, intended, pod, Some(outcome)),
            Client::Request(caller) => {
                let code = if outcome.is_ok() {
                    Code::Ok
                } else {
                    Code::BadGateway
                };
                // The call is over, so there is nothing left to cancel.
                self.set_stage(caller, Stage::Calling(None));
                self.answer(caller, code);
            }
        }
    }

    /// A request of a load has ended; `None` when it was given up at the end of the run.
    fn end_of(&mut self, load: u32, intended: i64, pod: Option<u32>, outcome: Option<Outcome>) {
        let clients = &mut self.loads[load as usize];
        clients.ended();
        let pod = pod.map(|pod| &self.pods[pod as usize]);
        self.notes
            .finished(clients.service, intended, self.now, pod, outcome);
        if 0 < clients.users() && self.now < clients.end() {
            self.queue
                .push(self.now.max(intended + ROUND_TRIP_MIN), Event::User(load));
        }
    }

    fn set_stage(&mut self, request: Ref, stage: Stage) {
        if let Some(held) = self.requests.get_mut(request) {
            held.stage = stage;
        }
    }
}
