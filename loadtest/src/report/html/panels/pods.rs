//! Requests of each pod, stacked: whether new pods really share the load.

use std::fmt;

use super::super::svg::Point;
use super::super::thin::means;
use super::{Key, Timelines, mean, most};
use crate::measured::Measured;
use crate::report::scale::Scale;
use crate::report::text;

/// Pods told apart; a screen has no room for the names of more. The rest are one.
const PODS_MAX: usize = 16;

/// Colours of pods; neighbours differ.
const POD_COLOURS: usize = 8;

/// Columns of what is stacked: each pod has a line of its own, and the file stays small.
const STACK_COLUMNS: usize = 400;

impl Timelines<'_> {
    pub(super) fn pods(&self, out: &mut String) -> fmt::Result {
        let names = self.pod_names();
        let mut pods = rates(&self.service.load, names.len(), self.series.speed);
        if pods.is_empty() {
            return Ok(());
        }
        // Each line is the sum of those below it.
        for i in 1..pods.len() {
            let (below, above) = pods.split_at_mut(i);
            for (sum, (_, below)) in above[0].iter_mut().zip(&below[i - 1]) {
                sum.1 = sum.1.zip(*below).map(|(a, b)| a + b);
            }
        }
        let all = pods.last().map_or(0.0, |line| most(line));
        let mut chart = self.canvas.chart(140, Scale::linear(all, 3), |v| {
            format!("{}/s", text::number(v))
        })?;
        let classes: Vec<String> = (0..pods.len())
            .map(|i| format!("pod pod{}", i % POD_COLOURS))
            .collect();
        for (line, class) in pods.iter().zip(&classes).rev() {
            chart.area(
                class,
                means(line, self.canvas.end_s, STACK_COLUMNS).into_iter(),
            )?;
        }
        self.canvas.over(&mut chart, |range| {
            let rates = pods
                .iter()
                .map(|line| mean(line, &range).unwrap_or_default());
            let mut below = 0.0;
            let words = rates.zip(&names).filter_map(|(sum, name)| {
                let rate = sum - std::mem::replace(&mut below, sum);
                (0.5 <= rate).then(|| format!("{name} {rate:.0}/s"))
            });
            words.collect::<Vec<_>>().join(", ")
        })?;
        let keys: Vec<Key<'_>> = classes
            .iter()
            .map(String::as_str)
            .zip(names.iter().cloned())
            .collect();
        let description = format!(
            "{} pods answered requests.",
            self.service.load.endpoints.len()
        );
        self.panel(
            out,
            chart,
            "pods",
            &format!("Requests by pod, per second{}", self.as_they_were()),
            &keys,
            &description,
        )
    }

    /// The names of the pods in the order of their first request; one name for all that are too many.
    fn pod_names(&self) -> Vec<String> {
        let mut endpoints: Vec<_> = self.service.load.endpoints.iter().collect();
        endpoints.sort_by_key(|(_, counts)| counts.index);
        let name = |address: &std::net::SocketAddr| {
            let known = |key: &str| {
                self.service
                    .backends
                    .get(key)
                    .and_then(|backend| backend.pod.as_deref())
            };
            let pod = known(&address.to_string()).or_else(|| known(&address.ip().to_string()));
            pod.map_or(address.to_string(), str::to_owned)
        };
        let mut names: Vec<String> = endpoints
            .iter()
            .take(PODS_MAX)
            .map(|(address, _)| name(address))
            .collect();
        if PODS_MAX < endpoints.len() {
            names.push(format!("{} others", endpoints.len() - PODS_MAX));
        }
        names
    }
}

/// The requests that each of `pods` pods ended, per second; what is above the last counts with it.
fn rates(load: &Measured, pods: usize, speed: f64) -> Vec<Vec<Point>> {
    if load.slots.iter().all(|slot| slot.endpoints.is_empty()) || pods == 0 {
        return Vec::new();
    }
    let mut rates = vec![Vec::with_capacity(load.slots.len()); pods];
    for (t_s, slot) in (0u32..).map(|t| f64::from(t) + 0.5).zip(&load.slots) {
        let mut counts = vec![0.0; pods];
        for seen in &slot.endpoints {
            counts[usize::from(seen.index).min(pods - 1)] +=
                f64::from(seen.ok) + f64::from(seen.errors);
        }
        for (line, count) in rates.iter_mut().zip(counts) {
            line.push((t_s, Some(count * speed)));
        }
    }
    rates
}
