//! Services that call each other: whose latency an HPA really sees, and what retries make of a slow one. Who calls whom
//! is told by what containers find in their environment, as far as it names a Service or a workload.

use std::collections::BTreeSet;

use super::num;
use crate::config::tree::Node;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::Workload;
use crate::lint::world::{World, labels};

/// From so many requests on that one request of a user may become, it is said.
const TRIES_SAID: i64 = 8;

/// Calls within calls that are followed: chains are short, and may go in circles.
const HOPS_MAX: usize = 6;

/// Calls that are followed from one workload: where all call all, the ways are more than anybody waits for.
const STEPS_MAX: usize = 10_000;

/// Schemes of addresses that requests go to.
const REQUEST_SCHEMES: [&str; 4] = ["http", "https", "grpc", "grpcs"];

/// Ends of a variable's name that say how often a call is tried again.
const RETRY_NAMES: [&str; 4] = [
    "_RETRIES",
    "_MAX_RETRIES",
    "_RETRY_COUNT",
    "_RETRY_ATTEMPTS",
];

/// The environment of a container that calls another service, and tries three times again.
macro_rules! retrying {
    ($name:expr, $url:expr) => {
        concat!(
            "        env:\n        - {name: ",
            $name,
            "_URL, value: \"",
            $url,
            "\"}\n",
            "        - {name: ",
            $name,
            "_RETRIES, value: \"3\"}\n"
        )
    };
}

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "downstream-fixed",
        severity: Severity::Warning,
        title: "A latency includes that of a service that does not scale",
        why: "A request that waits for another service is slow whatever pods its own has. Where the other one has a \
              fixed number of pods, it is the limit under load: the HPA of the caller adds pods, their calls make the \
              other one slower, and the caller goes to maxReplicas for ever.",
        fix: "let the other service scale as well; limit and time out the calls; scale the caller on CPU and \
              request_rate",
        wrong: documents!(
            right_hpa!(),
            deployment!(
                "",
                concat!(
                    "        env: [{name: PAYMENTS_URL, value: \"http://payments:80/pay\"}]\n",
                    right_container!()
                )
            ),
            workload!("payments", "app: payments", "  replicas: 2\n", ""),
        ),
        right: documents!(
            right_hpa!(),
            deployment!(
                "",
                concat!(
                    "        env: [{name: PAYMENTS_URL, value: \"http://payments:80/pay\"}]\n",
                    right_container!()
                )
            ),
            workload!(
                "payments",
                "app: payments",
                "",
                "        resources: {requests: {cpu: 100m}}\n"
            ),
            hpa_of!(
                "autoscaling/v2",
                "{name: payments}",
                "{apiVersion: apps/v1, kind: Deployment, name: payments}",
                "minReplicas: 2",
                "maxReplicas: 8",
                "metrics:",
                cpu!(),
            ),
        ),
        page: None,
        check: downstream_fixed,
    },
    Rule {
        id: "retries-multiply",
        severity: Severity::Warning,
        title: "Retries of a chain of services multiply",
        why: "Each service that tries a failed call again multiplies the requests of the one behind it. When the last \
              one is slow or answers 429 with Retry-After, it gets many times the load of its users, every rate in \
              the chain jumps, and the HPAs answer retries with pods.",
        fix: "retry at one place of the chain only, with a budget, and heed Retry-After",
        wrong: documents!(
            workload!("web", "app: web", "", retrying!("ORDERS", "http://orders")),
            workload!(
                "orders",
                "app: orders",
                "",
                retrying!("PAYMENTS", "http://payments")
            ),
            workload!("payments", "app: payments", "", ""),
        ),
        right: documents!(
            workload!(
                "web",
                "app: web",
                "",
                "        env: [{name: ORDERS_URL, value: \"http://orders\"}]\n"
            ),
            workload!(
                "orders",
                "app: orders",
                "",
                retrying!("PAYMENTS", "http://payments")
            ),
            workload!("payments", "app: payments", "", ""),
        ),
        page: None,
        check: retries_multiply,
    },
];

/// A call that one workload makes to another, by index.
struct Call<'w> {
    to: usize,
    /// The variable that names it.
    node: &'w Node,
    variable: &'w str,
    /// How often a request is sent at most.
    tries: i64,
}

/// The calls of a workload.
fn calls<'w>(world: &World<'w>, from: usize) -> Vec<Call<'w>> {
    let caller = &world.workloads[from];
    let environment = |container: &'w Node| container.get("env").map_or(&[][..], Node::items);
    let mut found: Vec<Call<'w>> = Vec::new();
    for variable in caller.containers.iter().flat_map(environment) {
        let (Some(name), Some(value)) = (
            variable.get("name").and_then(Node::text),
            variable.get("value").and_then(Node::text),
        ) else {
            continue;
        };
        let Some(to) = named(world, caller, value) else {
            continue;
        };
        if to != from && !found.iter().any(|call| call.to == to) {
            found.push(Call {
                to,
                node: variable,
                variable: name,
                tries: 1 + retries(world, caller, name, &world.workloads[to]),
            });
        }
    }
    found
}

/// The workload that an address is of: that of the Service of this name, or of the name itself.
fn named(world: &World<'_>, caller: &Workload<'_>, value: &str) -> Option<usize> {
    let after_scheme = value.split_once("://").map(|(_, rest)| rest);
    let is_address = after_scheme.is_some() || value.contains(':') || value.contains(".svc");
    let host = after_scheme
        .unwrap_or(value)
        .split(['/', ':', '?'])
        .next()?;
    let mut parts = host.split('.');
    let (name, namespace) = (parts.next()?, parts.next());
    // Most variables are no addresses, and there may be many of them.
    if !world.names.contains(name) {
        return None;
    }
    let object = caller.known.object;
    let meets = |other: &crate::lint::objects::Object| match namespace {
        Some(namespace) => other
            .namespace
            .as_deref()
            .is_none_or(|own| own == namespace),
        None => other.may_meet(object),
    };
    let service = world
        .addresses
        .iter()
        .find(|service| service.object.name == name && meets(service.object));
    // A bare word may be anything; a Service of that name makes it an address.
    let wanted = service.map(|service| labels(service.object.root.at(&["spec", "selector"])));
    if wanted.is_none() && !is_address {
        return None;
    }
    world.workloads.iter().position(|workload| {
        let is_of_service = wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.is_empty() && workload.has_labels(wanted));
        (is_of_service || (wanted.is_none() && workload.known.object.name == name))
            && meets(workload.known.object)
    })
}

/// How often a call is tried again: by a variable of the same first word, or by a VirtualService before the one called.
fn retries(world: &World<'_>, caller: &Workload<'_>, variable: &str, called: &Workload<'_>) -> i64 {
    let stem = variable.split('_').next().unwrap_or_default();
    let environment = caller
        .containers
        .iter()
        .filter_map(|container| container.get("env"))
        .flat_map(Node::items);
    let by_variable = environment
        .filter_map(|other| {
            let name = other.get("name")?.text()?;
            let is_of_it =
                name.starts_with(stem) && RETRY_NAMES.iter().any(|end| name.ends_with(end));
            is_of_it
                .then(|| other.get("value")?.scalar()?.parse::<i64>().ok())
                .flatten()
        })
        .max();
    let name = called.known.object.name.as_str();
    let by_route = world.routes.iter().filter_map(|route| {
        let hosts = route.object.root.at(&["spec", "hosts"])?.items();
        let is_of_it = hosts
            .iter()
            .filter_map(Node::text)
            .any(|host| host.split('.').next() == Some(name));
        let http = route
            .object
            .root
            .at(&["spec", "http"])
            .filter(|_| is_of_it)?;
        http.items()
            .iter()
            .filter_map(|rule| rule.at(&["retries", "attempts"])?.int())
            .max()
    });
    by_variable.unwrap_or(0).clamp(0, 100) + by_route.max().unwrap_or(0).clamp(0, 100)
}

/// Whether a call is a request that more pods could answer: a store has its own protocol, and its pods are not alike.
fn is_request(call: &Call<'_>, called: &crate::lint::objects::Object) -> bool {
    let address = call.node.get("value").and_then(Node::text);
    let scheme = address
        .and_then(|address| address.split_once("://"))
        .map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| REQUEST_SCHEMES.contains(&scheme))
        && !matches!(called.kind.as_str(), "StatefulSet" | "DaemonSet")
}

fn downstream_fixed(world: &World<'_>, out: &mut Out<'_>) {
    for (from, workload) in world.workloads.iter().enumerate() {
        let object = workload.known.object;
        let Some(hpa) = world
            .hpas_of(object)
            .find(|hpa| hpa.steep().next().is_some())
        else {
            continue;
        };
        for call in calls(world, from) {
            let called = world.workloads[call.to].known.object;
            if world.hpa_of(called).is_some() || !is_request(&call, called) {
                continue;
            }
            let replicas = called.root.at(&["spec", "replicas"]).and_then(Node::int);
            out.at(
                &workload.known,
                call.node,
                format!(
                    "{} calls {} ({}), which has {} pods and no HPA, and HPA {} scales {} on its latency",
                    object.name,
                    called.name,
                    call.variable,
                    num(replicas.unwrap_or(1) as f64),
                    hpa.known.object.name,
                    object.name
                ),
                format!(
                    "when {} is slow so is every request here: the HPA goes to {} replicas, whose calls make it slower",
                    called.name,
                    hpa.max().unwrap_or(1)
                ),
                format!("an HPA for {}, and a limit and a deadline on the calls to it", called.name),
            );
        }
    }
}

fn retries_multiply(world: &World<'_>, out: &mut Out<'_>) {
    let mut calls: Vec<Vec<Call<'_>>> = (0..world.workloads.len())
        .map(|from| calls(world, from))
        .collect();
    // A call that is made once multiplies nothing.
    calls
        .iter_mut()
        .for_each(|calls| calls.retain(|call| 1 < call.tries));
    let called: BTreeSet<usize> = calls.iter().flatten().map(|call| call.to).collect();
    for from in (0..calls.len()).filter(|from| !called.contains(from)) {
        let mut walk = Walk {
            calls: &calls,
            chain: vec![(from, 1)],
            worst: (Vec::new(), 0),
            steps: 0,
        };
        walk.on();
        let (way, tries) = walk.worst;
        if way.len() <= 2 || tries < TRIES_SAID {
            continue;
        }
        let name = |index: &usize| world.workloads[*index].known.object.name.as_str();
        let names: Vec<&str> = way.iter().map(name).collect();
        let last = names.last().copied().unwrap_or_default();
        let workload = &world.workloads[from];
        let node = calls[from].iter().find(|call| way.get(1) == Some(&call.to));
        out.at(
            &workload.known,
            node.map_or(&workload.known.object.root, |call| call.node),
            format!("{}: each tries failed calls again", names.join(" -> ")),
            format!(
                "when {last} fails, one request of a user becomes {tries} there: its HPA sees {tries} times the load, \
                 and a Retry-After keeps all of them waiting"
            ),
            format!(
                "retry in {} alone, with a budget of a tenth of its requests",
                names[0]
            ),
        );
    }
}

/// Calls that are followed to their ends, for the way on which most tries multiply.
struct Walk<'c, 'w> {
    calls: &'c [Vec<Call<'w>>],
    /// The way so far, each with the tries that one request has become.
    chain: Vec<(usize, i64)>,
    worst: (Vec<usize>, i64),
    steps: usize,
}

impl Walk<'_, '_> {
    /// Goes on from the end of the chain.
    fn on(&mut self) {
        let Some(&(at, tries)) = self.chain.last() else {
            return;
        };
        self.steps += 1;
        if self.worst.1 < tries {
            let way = self.chain.iter().map(|(index, _)| *index);
            self.worst = (way.collect(), tries);
        }
        if HOPS_MAX <= self.chain.len() {
            return;
        }
        for call in &self.calls[at] {
            let is_circle = self.chain.iter().any(|(index, _)| *index == call.to);
            if is_circle || STEPS_MAX <= self.steps {
                continue;
            }
            self.chain.push((call.to, tries.saturating_mul(call.tries)));
            self.on();
            self.chain.pop();
        }
    }
}
