//! Objects as rules look at them: an HPA with its metrics and their targets, a service with its window, a workload with
//! its containers. What cannot be read is absent here, and a rule that needs it stays silent; that it cannot be read is
//! a finding of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::tree::Node;
use crate::config::{self, autoscaler};
use crate::engine::Objective;
use crate::engine::snapshot::Metric as Served;
use crate::hpa;
use crate::model::quantity;
use crate::model::selector::{Operator, Selector};

use super::world::{Known, labels};

/// An HPA.
#[derive(Debug)]
pub(crate) struct Hpa<'w> {
    pub(crate) known: Known<'w>,
    /// Its `spec`, or all of it where it has none.
    pub(crate) spec: &'w Node,
    /// As the controller follows it.
    pub(crate) resolved: Result<hpa::Spec, autoscaler::SpecError>,
    pub(crate) metrics: Vec<Metric<'w>>,
}

/// One metric of an HPA.
#[derive(Debug)]
pub(crate) struct Metric<'w> {
    /// The item of `spec.metrics`.
    pub(crate) node: &'w Node,
    /// `External`, `Object`, `Pods`, `Resource` or `ContainerResource`.
    pub(crate) kind: &'w str,
    /// Where the name stands.
    pub(crate) name_node: Option<&'w Node>,
    /// The metric's or the resource's name.
    pub(crate) name: String,
    /// Its `target`.
    pub(crate) target: Option<&'w Node>,
    /// `target.value` in units.
    pub(crate) value: Option<(&'w Node, f64)>,
    /// `target.averageValue` in units.
    pub(crate) average: Option<(&'w Node, f64)>,
    /// `target.averageUtilization` in per cent.
    pub(crate) utilization: Option<(&'w Node, i64)>,
    /// Its `selector`.
    pub(crate) selector: Option<&'w Node>,
    /// As it is sent; `None` where it cannot be.
    pub(crate) sent: Option<Selector>,
    /// The container of a `ContainerResource`.
    pub(crate) container: Option<&'w Node>,
    pub(crate) signal: Signal,
}

/// What a metric tells, as far as its name does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// One of ours.
    Served(Served),
    /// Somebody else's quantile or latency.
    OthersLatency,
    /// `cpu` or `memory` of pods.
    Cpu,
    /// `memory`.
    Memory,
    /// Anything.
    Other,
}

/// A service: a RequestMetrics object.
#[derive(Debug)]
pub(crate) struct Service<'w> {
    pub(crate) known: Known<'w>,
    pub(crate) spec: &'w Node,
    /// As the adapter acts on it, or what is wrong with it.
    pub(crate) resolved: Result<config::Object, config::Problem>,
}

/// What runs pods.
#[derive(Debug)]
pub(crate) struct Workload<'w> {
    pub(crate) known: Known<'w>,
    /// Labels of its pods.
    pub(crate) labels: BTreeMap<String, String>,
    /// `spec.selector.matchLabels`.
    pub(crate) match_labels: BTreeMap<String, String>,
    /// `spec.template.spec.containers`.
    pub(crate) containers: &'w [Node],
}

/// Words that only a latency or its quantile has in its name.
const LATENCY_WORDS: [&str; 4] = ["latency", "quantile", "percentile", "response_time"];

/// The window where no RequestMetrics says one.
pub(crate) const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

// === impl Hpa ===

impl<'w> Hpa<'w> {
    pub(crate) fn new(known: Known<'w>) -> Self {
        let root = &known.object.root;
        let spec = root.get("spec").unwrap_or(root);
        let metrics = spec.get("metrics").map_or(&[][..], Node::items);
        let object = root.to_json();
        let selectors = autoscaler::selectors(&object).ok();
        let metric = |(index, node)| {
            let sent = selectors.as_ref().and_then(|all| all.get(index).cloned());
            Metric::new(node, sent)
        };
        Self {
            known,
            spec,
            resolved: autoscaler::from_value(&object),
            metrics: metrics.iter().enumerate().filter_map(metric).collect(),
        }
    }

    /// Whether it has the form that is read here; others have fields of other names.
    pub(crate) fn is_v2(&self) -> bool {
        self.known.object.api_version == "autoscaling/v2"
    }

    /// Kind and name of what it scales.
    pub(crate) fn target(&self) -> Option<(&'w str, &'w str)> {
        let target = self.spec.get("scaleTargetRef")?;
        Some((target.get("kind")?.text()?, target.get("name")?.text()?))
    }

    /// Fewest replicas.
    pub(crate) fn min(&self) -> i64 {
        self.spec
            .get("minReplicas")
            .and_then(Node::int)
            .unwrap_or(1)
    }

    /// Most replicas.
    pub(crate) fn max(&self) -> Option<i64> {
        self.spec.get("maxReplicas")?.int()
    }

    /// A number of replicas for examples: four, or what of it the bounds allow.
    pub(crate) fn typical(&self) -> i64 {
        let max = self.max().unwrap_or(4).max(1);
        4.clamp(self.min().clamp(1, max), max)
    }

    /// A field of `behavior`, such as `scaleDown.stabilizationWindowSeconds`.
    pub(crate) fn behavior(&self, direction: &str, field: &str) -> Option<&'w Node> {
        self.spec.at(&["behavior", direction, field])
    }

    /// The tolerance upwards.
    pub(crate) fn tolerance_up(&self) -> f64 {
        let resolved = self.resolved.as_ref();
        resolved.map_or(hpa::spec::TOLERANCE, |spec| spec.tolerances().up)
    }

    /// The metrics that rise steeply with load and are compared as they are: a latency, or the share of slow requests.
    pub(crate) fn steep(&self) -> impl Iterator<Item = &Metric<'w>> {
        self.metrics
            .iter()
            .filter(|metric| metric.value.is_some() && metric.is_steep())
    }
}

// === impl Metric ===

impl<'w> Metric<'w> {
    fn new(node: &'w Node, sent: Option<Selector>) -> Option<Self> {
        let kind = node.get("type")?.text()?;
        let field = match kind {
            "External" => "external",
            "Object" => "object",
            "Pods" => "pods",
            "Resource" => "resource",
            "ContainerResource" => "containerResource",
            _ => return None,
        };
        let source = node.get(field)?;
        let is_resource = kind == "Resource" || kind == "ContainerResource";
        let named = if is_resource {
            Some(source)
        } else {
            source.get("metric")
        };
        let name_node = named.and_then(|named| named.get("name"));
        let name = name_node
            .and_then(Node::text)
            .unwrap_or_default()
            .to_owned();
        let target = source.get("target");
        let amount = |field: &str| {
            let node = target?.get(field)?;
            Some((
                node,
                quantity::parse_milli(&node.scalar()?).ok()? as f64 / 1000.0,
            ))
        };
        Some(Self {
            node,
            kind,
            signal: Signal::of(kind, &name),
            name_node,
            target,
            value: amount("value"),
            average: amount("averageValue"),
            utilization: target
                .and_then(|target| target.get("averageUtilization"))
                .and_then(|node| Some((node, node.int()?))),
            selector: source
                .get("metric")
                .and_then(|metric| metric.get("selector")),
            sent,
            container: source.get("container"),
            name,
        })
    }

    /// Which of ours it is.
    pub(crate) fn served(&self) -> Option<Served> {
        match self.signal {
            Signal::Served(metric) => Some(metric),
            _ => None,
        }
    }

    /// Whether it is a quantile or a mean of a latency.
    pub(crate) fn is_latency(&self) -> bool {
        matches!(
            self.signal,
            Signal::Served(Served::RequestLatencyMs) | Signal::OthersLatency
        )
    }

    /// Whether it explodes near the knee rather than growing with the load.
    pub(crate) fn is_steep(&self) -> bool {
        self.is_latency() || self.served() == Some(Served::SlowRequestRatio)
    }

    /// The one value that its selector asks a label for.
    pub(crate) fn selected(&self, key: &str) -> Option<&str> {
        let requirements = self.sent.as_ref()?.requirements();
        requirements
            .iter()
            .find_map(|requirement| match &requirement.operator {
                Operator::In(values) if requirement.key == key && values.len() == 1 => {
                    values.first().map(String::as_str)
                }
                _ => None,
            })
    }

    /// The quantile that its selector asks for.
    pub(crate) fn quantile(&self) -> Option<f64> {
        self.selected("quantile")?.parse().ok()
    }

    /// Where a label of the selector stands; the selector itself where it is an expression; the name without one.
    pub(crate) fn label_node(&self, key: &str) -> &'w Node {
        let in_labels = self
            .selector
            .and_then(|selector| selector.at(&["matchLabels", key]));
        let at = in_labels.or(self.selector).or(self.name_node);
        at.unwrap_or(self.node)
    }

    /// What is written as the target.
    pub(crate) fn target_node(&self) -> &'w Node {
        let amount = self.value.or(self.average).map(|(node, _)| node);
        amount.or(self.target).unwrap_or(self.node)
    }
}

// === impl Signal ===

impl Signal {
    fn of(kind: &str, name: &str) -> Self {
        match kind {
            "Resource" | "ContainerResource" if name == "cpu" => Self::Cpu,
            "Resource" | "ContainerResource" if name == "memory" => Self::Memory,
            "External" | "Object" | "Pods" => match Served::from_name(name) {
                Some(metric) => Self::Served(metric),
                None if is_latency(name) => Self::OthersLatency,
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// Whether a name says that it is of a latency: `p95`, `p999` as a word of it, or one of the words.
fn is_latency(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_quantile = |word: &str| {
        let digits = word.strip_prefix('p').unwrap_or_default();
        (2..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    };
    LATENCY_WORDS.iter().any(|word| name.contains(word))
        || name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(is_quantile)
}

// === impl Service ===

impl<'w> Service<'w> {
    pub(crate) fn new(known: Known<'w>) -> Self {
        let root = &known.object.root;
        let spec = root.get("spec").unwrap_or(root);
        let mut object = root.to_json();
        // A scenario's need not say what they are, and a status is nobody's wish.
        if let Some(fields) = object.as_object_mut() {
            fields
                .entry("apiVersion")
                .or_insert_with(|| config::API_VERSION.into());
            fields
                .entry("kind")
                .or_insert_with(|| "RequestMetrics".into());
        }
        let resolved = resolve(spec, &object.to_string());
        Self {
            known,
            spec,
            resolved,
        }
    }

    /// The window of its values.
    pub(crate) fn window(&self) -> Option<Duration> {
        Some(self.resolved.as_ref().ok()?.service.spec.window)
    }

    /// What was promised.
    pub(crate) fn objective(&self) -> Option<Objective> {
        self.resolved.as_ref().ok()?.service.spec.objective
    }

    /// How its pods are read, where it reads pods.
    pub(crate) fn pods(&self) -> Option<&'w Node> {
        self.spec.at(&["source", "pods"])
    }

    /// The `key` labels of its backlogs.
    pub(crate) fn backlog_keys(&self) -> Vec<String> {
        let backlog = self.spec.at(&["source", "redis", "backlog"]);
        let label = |item: &Node| item.get("label").or(item.get("key"))?.scalar();
        backlog
            .map_or(&[][..], Node::items)
            .iter()
            .filter_map(label)
            .collect()
    }
}

/// By the rules of a file where targets are listed or files are named, by those of an object elsewhere.
fn resolve(spec: &Node, text: &str) -> Result<config::Object, config::Problem> {
    let is_of_file = spec.at(&["source", "pods", "targets"]).is_some()
        || ["file", "env", "caFile", "certFile"].iter().any(|name| {
            spec.get("source")
                .is_some_and(|source| source.find(name).is_some())
        });
    if !is_of_file {
        return config::object(text);
    }
    let config::Parsed { services, problems } = config::parse(text);
    match (services.into_values().next(), problems.into_iter().next()) {
        (Some(service), _) => Ok(config::Object {
            service,
            pods: None,
        }),
        (None, Some(problem)) => Err(problem),
        (None, None) => Err(config::Problem {
            line: None,
            service: None,
            message: "the document is empty".to_owned(),
        }),
    }
}

// === impl Workload ===

impl<'w> Workload<'w> {
    pub(crate) fn new(known: Known<'w>) -> Self {
        let root = &known.object.root;
        let template = root.at(&["spec", "template"]);
        let pod = |way: &[&str]| template.and_then(|template| template.at(way));
        Self {
            known,
            labels: labels(pod(&["metadata", "labels"])),
            match_labels: labels(root.at(&["spec", "selector", "matchLabels"])),
            containers: pod(&["spec", "containers"]).map_or(&[][..], Node::items),
        }
    }

    /// The name of a container.
    pub(crate) fn container_name(container: &Node) -> &str {
        container
            .get("name")
            .and_then(Node::text)
            .unwrap_or("without a name")
    }

    /// Whether labels that a selector wants are those of its pods.
    pub(crate) fn has_labels(&self, wanted: &BTreeMap<String, String>) -> bool {
        wanted
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
