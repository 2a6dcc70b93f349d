//! A Deployment's arithmetic: how many pods of each version there are to be, while it is scaled and while a version
//! replaces another, 25 % at a time. Which pods these are, and how they fare, is not known here.
//!
//! Lines that begin with `//=` name the function of `kubernetes/pkg/controller/deployment` that the next one follows.

use crate::hpa::told::surge;

/// A Deployment's `maxSurge` and `maxUnavailable` where it does not say.
const ROLLING_PERCENT: u32 = 25;

/// Reconciliations of one change: each step of a rollout frees places for the next one, so this is far above any.
const STEPS_MAX: usize = 1_000;

/// How many pods there are to be, by version.
#[derive(Clone, Debug)]
pub(super) struct Deployment {
    replicas: u32,
    /// Oldest first; the last one is of the version that is wanted.
    sets: Vec<Set>,
}

/// The pods of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Which version, as the service counts them.
    pub(super) version: u32,
    /// How many there are to be.
    pub(super) replicas: u32,
    /// `replicas` and surge of the whole Deployment when this set was last scaled.
    size_then: u32,
    replicas_then: u32,
}

/// How many of `replicas` a rollout may take away.
fn unavailable_max(replicas: u32) -> u32 {
    replicas * ROLLING_PERCENT / 100
}

impl Deployment {
    /// One that runs version 0.
    pub(super) fn new(replicas: u32) -> Self {
        let mut deployment = Self {
            replicas,
            sets: Vec::new(),
        };
        deployment.sets.push(deployment.set(0, replicas));
        deployment
    }

    fn set(&self, version: u32, replicas: u32) -> Set {
        Set {
            version,
            replicas,
            size_then: self.replicas + surge(self.replicas),
            replicas_then: self.replicas,
        }
    }

    /// `spec.replicas`.
    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    /// The version that is wanted.
    pub(super) fn version(&self) -> u32 {
        self.sets.last().map_or(0, |set| set.version)
    }

    /// The sets that have or want pods, oldest first.
    pub(super) fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Wants so many pods from now on.
    pub(super) fn scale(&mut self, replicas: u32) {
        self.replicas = replicas;
    }

    /// Wants another version from now on.
    pub(super) fn roll_to(&mut self, version: u32) {
        let place = self.sets.iter().position(|set| set.version == version);
        let set = match place {
            Some(place) => self.sets.remove(place),
            None => self.set(version, 0),
        };
        self.sets.push(set);
    }

    /// Does what the controller does until there is nothing left to do; `available` says how many pods of a version
    /// are ready.
    //= sync.go isScalingEvent, rolling.go rolloutRolling
    pub(super) fn reconcile(&mut self, available: impl Fn(u32) -> u32) {
        for _ in 0..STEPS_MAX {
            let is_scaled = |set: &Set| 0 < set.replicas && set.replicas_then != self.replicas;
            let changed = if self.sets.iter().any(is_scaled) {
                self.spread(&available);
                true
            } else {
                self.scale_up_newest() || self.scale_down_others(&available)
            };
            if !changed {
                break;
            }
        }
        let last = self.sets.len() - 1;
        let mut place = 0;
        self.sets.retain(|set| {
            place += 1;
            0 < set.replicas || last < place
        });
    }

    /// Brings the sets to a changed number of replicas: the only one to all of it, several each to its share.
    //= sync.go scale
    fn spread(&mut self, available: impl Fn(u32) -> u32) {
        let active = self.sets.iter().filter(|set| 0 < set.replicas).count();
        let last = self.sets.len() - 1;
        let newest = self.sets[last];
        if active <= 1 {
            let only = self.sets.iter().position(|set| 0 < set.replicas);
            self.resize(only.unwrap_or(last), self.replicas);
        } else if newest.replicas == self.replicas && available(newest.version) == self.replicas {
            (0..last).for_each(|place| self.resize(place, 0));
        } else {
            self.spread_over_shares();
        }
        for place in 0..self.sets.len() {
            self.resize(place, self.sets[place].replicas);
        }
    }

    fn spread_over_shares(&mut self) {
        let total: u32 = self.sets.iter().map(|set| set.replicas).sum();
        let allowed = match self.replicas {
            0 => 0,
            replicas => replicas + surge(replicas),
        };
        let change = i64::from(allowed) - i64::from(total);
        // The largest first; of equal ones the newest when pods come, and the oldest when they go.
        let mut order: Vec<usize> = (0..self.sets.len())
            .filter(|place| 0 < self.sets[*place].replicas)
            .collect();
        if 0 < change {
            order.reverse();
        }
        order.sort_by_key(|place| std::cmp::Reverse(self.sets[*place].replicas));
        let mut given = 0;
        let shares: Vec<i64> = order
            .iter()
            .map(|place| {
                let share = self.share(&self.sets[*place], change - given);
                given += share;
                share
            })
            .collect();
        for (nth, (place, share)) in order.into_iter().zip(shares).enumerate() {
            let left = if nth == 0 { change - given } else { 0 };
            let replicas = i64::from(self.sets[place].replicas) + share + left;
            self.resize(place, u32::try_from(replicas).unwrap_or(0));
        }
    }

    /// What a set gets of a change of which `left` is still to be given.
    //= util/deployment_util.go GetReplicaSetProportion
    fn share(&self, set: &Set, left: i64) -> i64 {
        if left == 0 || self.replicas == 0 {
            return if self.replicas == 0 {
                -i64::from(set.replicas)
            } else {
                0
            };
        }
        let size = f64::from(self.replicas + surge(self.replicas));
        let grown = f64::from(set.replicas) * size / f64::from(set.size_then.max(1));
        let share = grown.round() as i64 - i64::from(set.replicas);
        if 0 < left {
            share.min(left)
        } else {
            share.max(left)
        }
    }

    //= util/deployment_util.go NewRSNewReplicas
    fn scale_up_newest(&mut self) -> bool {
        let total: u32 = self.sets.iter().map(|set| set.replicas).sum();
        let room = (self.replicas + surge(self.replicas)).saturating_sub(total);
        let last = self.sets.len() - 1;
        let newest = self.sets[last].replicas;
        let others = total - newest;
        let wanted = if others == 0 || self.replicas < newest {
            self.replicas
        } else {
            newest + room.min(self.replicas.saturating_sub(newest))
        };
        let changed = wanted != newest;
        self.resize(last, wanted);
        changed
    }

    /// Takes pods of other versions away: first those that are not available, then as many as may be missing.
    //= rolling.go reconcileOldReplicaSets
    fn scale_down_others(&mut self, available: impl Fn(u32) -> u32) -> bool {
        let last = self.sets.len() - 1;
        let total: u32 = self.sets.iter().map(|set| set.replicas).sum();
        let newest = self.sets[last];
        if total == newest.replicas {
            return false;
        }
        let needed = self.replicas - unavailable_max(self.replicas);
        let missing = newest.replicas.saturating_sub(available(newest.version));
        let mut room = total.saturating_sub(needed + missing);
        let mut changed = false;
        for place in 0..last {
            let Set {
                version, replicas, ..
            } = self.sets[place];
            let unhealthy = replicas.saturating_sub(available(version)).min(room);
            room -= unhealthy;
            changed |= 0 < unhealthy;
            self.resize(place, replicas - unhealthy);
        }
        let ready = self
            .sets
            .iter()
            .map(|set| available(set.version).min(set.replicas));
        let mut spare = ready.sum::<u32>().saturating_sub(needed).min(room);
        for place in 0..last {
            let replicas = self.sets[place].replicas;
            let fewer = replicas.min(spare);
            spare -= fewer;
            changed |= 0 < fewer;
            self.resize(place, replicas - fewer);
        }
        changed
    }

    fn resize(&mut self, place: usize, replicas: u32) {
        self.sets[place] = self.set(self.sets[place].version, replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(deployment: &Deployment) -> Vec<(u32, u32)> {
        deployment
            .sets()
            .iter()
            .map(|set| (set.version, set.replicas))
            .collect()
    }

    /// Reconciles with every pod of `ready` versions available.
    fn settle(deployment: &mut Deployment, ready: &[u32]) {
        let before = deployment.clone();
        let available = |version: u32| {
            let set = before.sets.iter().find(|set| set.version == version);
            set.filter(|_| ready.contains(&version))
                .map_or(0, |set| set.replicas)
        };
        deployment.reconcile(available);
    }

    #[test]
    fn a_rollout_goes_on_as_its_pods_become_ready_and_never_below_three_quarters() {
        let mut deployment = Deployment::new(4);
        deployment.roll_to(1);
        settle(&mut deployment, &[0]);
        assert_eq!(
            sizes(&deployment),
            [(0, 3), (1, 2)],
            "one above, one missing"
        );
        for expected in [vec![(0, 1), (1, 4)], vec![(1, 4)]] {
            settle(&mut deployment, &[0, 1]);
            assert_eq!(sizes(&deployment), expected);
        }
    }

    #[test]
    fn a_version_that_is_never_ready_gets_no_further() {
        for (replicas, old, new) in [(1, 1, 1), (2, 2, 1), (4, 3, 2), (10, 8, 5)] {
            let mut deployment = Deployment::new(replicas);
            deployment.roll_to(1);
            for _ in 0..5 {
                settle(&mut deployment, &[0]);
            }
            assert_eq!(sizes(&deployment), [(0, old), (1, new)], "of {replicas}");
            deployment.roll_to(0);
            for _ in 0..5 {
                settle(&mut deployment, &[0]);
            }
            assert_eq!(sizes(&deployment), [(0, replicas)], "back to {replicas}");
        }
    }

    #[test]
    fn a_deployment_scaled_while_it_rolls_gives_each_version_its_share() {
        let mut deployment = Deployment::new(4);
        deployment.roll_to(1);
        settle(&mut deployment, &[0]);
        deployment.scale(8);
        deployment.reconcile(|version| if version == 0 { 3 } else { 0 });
        // Ten places for the five pods there were: twice as many of each.
        assert_eq!(sizes(&deployment), [(0, 6), (1, 4)]);
        deployment.scale(4);
        deployment.reconcile(|version| if version == 0 { 6 } else { 0 });
        assert_eq!(sizes(&deployment), [(0, 3), (1, 2)]);
    }

    #[test]
    fn one_version_is_scaled_as_asked() {
        let mut deployment = Deployment::new(2);
        for replicas in [5, 1, 7] {
            deployment.scale(replicas);
            settle(&mut deployment, &[0]);
            assert_eq!(sizes(&deployment), [(0, replicas)]);
        }
        assert_eq!((surge(1), surge(4), surge(5)), (1, 1, 2));
    }
}
