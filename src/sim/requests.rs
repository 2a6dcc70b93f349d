//! The requests under way. A place is used again when its request has ended, so a run allocates for the most that were
//! ever in flight and not for each; a reference to a request that is over finds nothing.

use std::collections::VecDeque;

/// A request, for as long as it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    place: u32,
    generation: u32,
}

/// What is known of a request. Times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// The pod that has it.
    pub(super) pod: u32,
    /// When it arrived there.
    pub(super) arrived: i64,
    /// Who asked.
    pub(super) client: Client,
    /// How far it is.
    pub(super) stage: Stage,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Client {
    /// A load, at the moment at which the request should have started.
    Load { load: u32, intended: i64 },
    /// Another request, of another service.
    Request(Ref),
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has just come, and holds nothing.
    Arriving,
    /// It waits for a worker.
    Waiting,
    /// A worker is on it.
    Working,
    /// It waits, with its worker, for a connection to the service that it calls.
    Connecting,
    /// It waits, with its worker and a connection, for this call; `None` while that is being sent.
    Calling(Option<Ref>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    generation: u32,
    request: Option<Request>,
}

/// When requests are given up, earliest first. One that ended in time stays until its deadline, and is passed over
/// then: nearly all do, and to look after the first of them at every event would cost each event something.
#[derive(Debug, Default)]
pub(super) struct Deadlines(VecDeque<(i64, Ref)>);

impl Deadlines {
    /// Gives `request` time until `at`: nearly always later than all others, unless a version that is rolled out has
    /// less patience than the one before.
    pub(super) fn push(&mut self, at: i64, request: Ref) {
        match self.0.back() {
            Some((last, _)) if at < *last => {
                let place = self.0.partition_point(|(other, _)| *other <= at);
                self.0.insert(place, (at, request));
            }
            _ => self.0.push_back((at, request)),
        }
    }

    /// When the next request that is still under way is given up, if that is before `before`.
    pub(super) fn next_before(&mut self, before: i64, requests: &Requests) -> Option<i64> {
        while let Some((at, request)) = self.0.front()
            && *at < before
        {
            if requests.get(*request).is_some() {
                return Some(*at);
            }
            self.0.pop_front();
        }
        None
    }

    /// Takes the request that is given up first.
    pub(super) fn take(&mut self) -> Option<Ref> {
        self.0.pop_front().map(|(_, request)| request)
    }
}

impl Requests {
    /// Takes in a request.
    pub(super) fn insert(&mut self, request: Request) -> Ref {
        if let Some(place) = self.free.pop() {
            let held = &mut self.places[place as usize];
            held.request = Some(request);
            return Ref {
                place,
                generation: held.generation,
            };
        }
        self.places.push(Place {
            generation: 0,
            request: Some(request),
        });
        Ref {
            place: (self.places.len() - 1) as u32,
            generation: 0,
        }
    }

    /// A request, unless it is over.
    pub(super) fn get(&self, of: Ref) -> Option<&Request> {
        let place = self.places.get(of.place as usize)?;
        place
            .request
            .as_ref()
            .filter(|_| place.generation == of.generation)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, of: Ref) -> Option<&mut Request> {
        let place = self.places.get_mut(of.place as usize)?;
        place
            .request
            .as_mut()
            .filter(|_| place.generation == of.generation)
    }

    /// Ends a request.
    pub(super) fn remove(&mut self, of: Ref) -> Option<Request> {
        let place = self.places.get_mut(of.place as usize)?;
        if place.generation != of.generation {
            return None;
        }
        let request = place.request.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(of.place);
        Some(request)
    }

    /// Those that a pod has, in the order of their places.
    pub(super) fn of_pod(&self, pod: u32) -> Vec<Ref> {
        self.select(|request| request.pod == pod)
    }

    /// Those that a load asked for.
    pub(super) fn of_load(&self, of: u32) -> Vec<Ref> {
        self.select(|request| matches!(request.client, Client::Load { load, .. } if load == of))
    }

    fn select(&self, wanted: impl Fn(&Request) -> bool) -> Vec<Ref> {
        let places = self.places.iter().zip(0..);
        let found = places.filter(|(place, _)| place.request.as_ref().is_some_and(&wanted));
        found
            .map(|(place, index)| Ref {
                place: index,
                generation: place.generation,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_request_that_is_over_finds_nothing() {
        let mut requests = Requests::default();
        let request = |pod| Request {
            pod,
            arrived: 0,
            client: Client::Load {
                load: 0,
                intended: 0,
            },
            stage: Stage::Arriving,
        };
        let first = requests.insert(request(1));
        assert_eq!(requests.remove(first).map(|r| r.pod), Some(1));
        let second = requests.insert(request(2));
        assert!(requests.get(first).is_none() && requests.get_mut(first).is_none());
        assert!(requests.remove(first).is_none());
        assert_eq!(requests.get(second).map(|r| r.pod), Some(2));
        assert_eq!(requests.places.len(), 1, "the place was used again");
        assert_eq!(requests.of_pod(2), [second]);
        assert!(requests.of_load(1).is_empty());

        let mut deadlines = Deadlines::default();
        for (at, request) in [(5, first), (9, first), (7, second)] {
            deadlines.push(at, request);
        }
        assert_eq!(deadlines.next_before(7, &requests), None);
        assert_eq!(deadlines.next_before(8, &requests), Some(7));
        assert_eq!(deadlines.take(), Some(second));
        assert_eq!(deadlines.next_before(10, &requests), None);
        assert_eq!(deadlines.take(), None, "who ended in time is passed over");
    }
}
