//! The pods of one namespace as they are held. A complete list replaces what was known in one step, however long it
//! takes to come; until then the old set stays in force.

use std::collections::BTreeMap;

use kube::runtime::watcher::Event;

use crate::cluster::pod::{Pod, Templates, WirePod};

/// Pods held in all namespaces together, each some 350 bytes: three times the largest fleet that Taffrail is meant for.
pub(super) const PODS_MAX: usize = 100_000;

/// The pods of a namespace.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// By name, so in a fixed order.
    pub(super) held: BTreeMap<Box<str>, Pod>,
    /// A list that is not complete yet.
    incoming: Option<Incoming>,
    /// Whether a list was complete once.
    pub(super) is_synced: bool,
    /// Whether pods are left out, since [`PODS_MAX`] are held.
    pub(super) is_full: bool,
}

#[derive(Debug, Default)]
struct Incoming {
    held: BTreeMap<Box<str>, Pod>,
    is_full: bool,
}

impl Pods {
    /// Takes an event; `room` is how many more pods may be held. Returns whether what is in force may have changed.
    pub(super) fn take(
        &mut self,
        event: Event<WirePod>,
        room: usize,
        templates: &mut Templates,
    ) -> bool {
        match event {
            Event::Init => {
                self.incoming = Some(Incoming::default());
                false
            }
            Event::InitApply(wire) => {
                let previous = name(&wire).and_then(|name| self.held.get(name));
                let pod = Pod::new(wire, previous, templates);
                let incoming = self.incoming.get_or_insert_default();
                // What it replaces makes room for it.
                if incoming.held.len() < room + self.held.len() {
                    incoming.held.extend(pod.map(|pod| (pod.name.clone(), pod)));
                } else {
                    incoming.is_full = true;
                }
                false
            }
            Event::InitDone => {
                let Incoming { held, is_full } = self.incoming.take().unwrap_or_default();
                (self.held, self.is_full, self.is_synced) = (held, is_full, true);
                true
            }
            Event::Apply(wire) => self.apply(wire, room, templates),
            Event::Delete(wire) => {
                // Only that very pod: its successor may have come before the news of its end.
                let is_held = |pod: &&Pod| Some(&*pod.uid) == wire.metadata.uid.as_deref();
                match name(&wire).filter(|name| self.held.get(*name).as_ref().is_some_and(is_held))
                {
                    Some(name) => self.held.remove(name).is_some(),
                    None => false,
                }
            }
        }
    }

    fn apply(&mut self, wire: WirePod, room: usize, templates: &mut Templates) -> bool {
        let previous = name(&wire).and_then(|name| self.held.get(name));
        if previous.is_none() && room == 0 {
            self.is_full = true;
            return false;
        }
        let Some(pod) = Pod::new(wire, previous, templates) else {
            return false;
        };
        // Most updates of a pod are of what is not held, or of what only an HPA counts by.
        let is_change = previous.is_none_or(|previous| !previous.is_read_as(&pod));
        self.held.insert(pod.name.clone(), pod);
        is_change
    }
}

fn name(wire: &WirePod) -> Option<&str> {
    wire.metadata.name.as_deref()
}
