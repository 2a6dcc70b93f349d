//! What the API server refuses of an HPA: fields that there are not, values that cannot be, names that are none. Held
//! against a real API server by a test of the cluster, so that neither refuses what the other takes.

use super::target::TARGET_TYPES;
use crate::config::autoscaler::{Problem, SpecError};
use crate::config::tree::{Content, Node};
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Hpa, Metric};
use crate::lint::world::{HPA, Known, World};
use crate::model::selector::is_dns_subdomain;

/// What marks a place that a template fills in.
const TEMPLATES: [&str; 2] = ["{{", "${"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "hpa-invalid",
        severity: Severity::Error,
        title: "An HPA that the API server refuses",
        why: "The file cannot be applied, so the HPA of before stays in force, or none.",
        fix: "mend the field",
        wrong: hpa!("minReplicas: 12", "maxReplicas: 10", "metrics:", cpu!(),),
        right: right_hpa!(),
        page: None,
        check: hpa_invalid,
    },
    Rule {
        id: "hpa-unknown-field",
        severity: Severity::Error,
        title: "A field that an HPA does not have",
        why: "kubectl has the API server refuse a field that it does not know. Tools that do not ask for that, as many \
              clients and GitOps tools, apply the rest, and the field is dropped without a word: the default is in \
              force, and the file says another thing.",
        fix: "write the field as it is called, at the place where it belongs",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleDown: {stabilisationWindowSeconds: 60}}",
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleDown: {stabilizationWindowSeconds: 60}}",
        ),
        page: None,
        check: hpa_unknown_field,
    },
    Rule {
        id: "name-invalid",
        severity: Severity::Error,
        title: "An object without a name that a cluster takes",
        why: "A name is of lower-case letters, digits, - and ., begins and ends with a letter or a digit, and has at \
              most 253 of them. The API server refuses any other.",
        fix: "write such a name; where a template stands, render it before",
        wrong: hpa_of!(
            "autoscaling/v2",
            "{name: Users_HPA}",
            "{apiVersion: apps/v1, kind: Deployment, name: users}",
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
        ),
        right: right_hpa!(),
        page: None,
        check: name_invalid,
    },
    Rule {
        id: "object-twice",
        severity: Severity::Warning,
        title: "One object stands twice in a file",
        why: "Both have the same kind and name, so they are one object to the cluster: the later one is applied over \
              the earlier one, and whoever edits that edits nothing.",
        fix: "keep one, or give the other its own name",
        wrong: documents!(
            right_hpa!(),
            hpa!("minReplicas: 2", "maxReplicas: 20", "metrics:", cpu!())
        ),
        right: right_hpa!(),
        page: None,
        check: object_twice,
    },
];

/// The fields of an object, each with those of what it holds, or of the items of its list; none where anything may stand.
struct Fields(&'static [(&'static str, Option<&'static Self>)]);

/// A `MetricTarget`, with what else an HPA of autoscaling/v2 (Kubernetes 1.36) has.
static TARGET: Fields = Fields(&[
    ("type", None),
    ("value", None),
    ("averageValue", None),
    ("averageUtilization", None),
]);

static SELECTOR: Fields = Fields(&[
    ("matchLabels", None),
    (
        "matchExpressions",
        Some(&Fields(&[
            ("key", None),
            ("operator", None),
            ("values", None),
        ])),
    ),
]);

static METRIC: Fields = Fields(&[("name", None), ("selector", Some(&SELECTOR))]);

static REFERENCE: Fields = Fields(&[("apiVersion", None), ("kind", None), ("name", None)]);

static SOURCE: Fields = Fields(&[("metric", Some(&METRIC)), ("target", Some(&TARGET))]);

static METRICS: Fields = Fields(&[
    ("type", None),
    ("external", Some(&SOURCE)),
    ("pods", Some(&SOURCE)),
    (
        "object",
        Some(&Fields(&[
            ("describedObject", Some(&REFERENCE)),
            ("metric", Some(&METRIC)),
            ("target", Some(&TARGET)),
        ])),
    ),
    (
        "resource",
        Some(&Fields(&[("name", None), ("target", Some(&TARGET))])),
    ),
    (
        "containerResource",
        Some(&Fields(&[
            ("container", None),
            ("name", None),
            ("target", Some(&TARGET)),
        ])),
    ),
]);

static RULES_OF_DIRECTION: Fields = Fields(&[
    ("stabilizationWindowSeconds", None),
    ("selectPolicy", None),
    ("tolerance", None),
    (
        "policies",
        Some(&Fields(&[
            ("type", None),
            ("value", None),
            ("periodSeconds", None),
        ])),
    ),
]);

static SPEC: Fields = Fields(&[
    ("scaleTargetRef", Some(&REFERENCE)),
    ("minReplicas", None),
    ("maxReplicas", None),
    ("metrics", Some(&METRICS)),
    (
        "behavior",
        Some(&Fields(&[
            ("scaleUp", Some(&RULES_OF_DIRECTION)),
            ("scaleDown", Some(&RULES_OF_DIRECTION)),
        ])),
    ),
]);

/// The same of autoscaling/v1.
static SPEC_V1: Fields = Fields(&[
    ("scaleTargetRef", Some(&REFERENCE)),
    ("minReplicas", None),
    ("maxReplicas", None),
    ("targetCPUUtilizationPercentage", None),
]);

static ROOT: Fields = Fields(&[
    ("apiVersion", None),
    ("kind", None),
    ("metadata", Some(&METADATA)),
    ("spec", None),
    ("status", None),
]);

static METADATA: Fields = Fields(&[
    ("name", None),
    ("namespace", None),
    ("labels", None),
    ("annotations", None),
    ("generateName", None),
    ("finalizers", None),
    ("ownerReferences", None),
    ("uid", None),
    ("resourceVersion", None),
    ("generation", None),
    ("creationTimestamp", None),
    ("deletionTimestamp", None),
    ("deletionGracePeriodSeconds", None),
    ("managedFields", None),
    ("selfLink", None),
]);

// --- Values.

fn hpa_invalid(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in world.hpas.iter().filter(|hpa| hpa.is_v2()) {
        if let Err(error) = &hpa.resolved
            && hpa.min() != 0
        {
            refused(hpa, error, out);
        }
        for metric in &hpa.metrics {
            target_type(hpa, metric, out);
            second_source(hpa, metric, out);
        }
        if hpa.target().is_none() {
            out.at(
                &hpa.known,
                hpa.spec.get("scaleTargetRef").unwrap_or(hpa.spec),
                "scaleTargetRef needs a kind and a name",
                "the API server refuses it, and what was in force before stays",
                "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: NAME}",
            );
        }
    }
}

/// What cannot be decided on, with what stands there and what may.
fn refused(hpa: &Hpa<'_>, error: &SpecError, out: &mut Out<'_>) {
    let root = &hpa.known.object.root;
    let node = root.nearest(&error.path);
    let is_there = root.path_to(node).as_deref() == Some(error.path.as_str());
    let written = node.scalar().filter(|_| is_there);
    let field = error.path.rsplit('.').next().unwrap_or_default();
    let what = match (&error.problem, written) {
        (Problem::MustBe(_), Some(_)) => {
            // As JSON, so that a number in quotes shows them.
            format!(
                "{} is {}, and {}",
                error.path,
                node.to_json(),
                error.problem
            )
        }
        (Problem::Quantity(_), _) => error.to_string(),
        _ => format!("{} {}", error.path, error.problem),
    };
    let fix = match &error.problem {
        Problem::Missing => format!("write {field}"),
        Problem::MustBe(what) => format!("{field}: {what}"),
        Problem::Quantity(_) => format!("{field}: a number such as 250, 250m, 0.25 or 1k"),
        Problem::NotOne(one, other) => format!("write {one} or {other}, and not both"),
    };
    let why = "the API server refuses it, and what was in force before stays";
    out.at(&hpa.known, node, what, why, fix);
}

/// A target says what it is, though the controller goes by the field.
fn target_type(hpa: &Hpa<'_>, metric: &Metric<'_>, out: &mut Out<'_>) {
    let Some(target) = metric.target else { return };
    let written = target.get("type");
    let says = written.and_then(Node::text);
    if says.is_some_and(|says| TARGET_TYPES.contains(&says)) {
        return;
    }
    let meant = match () {
        () if metric.value.is_some() => "Value",
        () if metric.utilization.is_some() => "Utilization",
        () => "AverageValue",
    };
    out.at(
        &hpa.known,
        written.unwrap_or(target),
        match says {
            Some(says) => format!("there is no target of the type {says}"),
            None => format!("the target of {} has no type", metric.name),
        },
        "the API server refuses it, and what was in force before stays",
        format!("type: {meant}"),
    );
}

/// A metric has one source, that of its type.
fn second_source(hpa: &Hpa<'_>, metric: &Metric<'_>, out: &mut Out<'_>) {
    let is_source = |name: &str| {
        METRICS
            .0
            .iter()
            .any(|(known, within)| *known == name && within.is_some())
    };
    let other = metric.node.fields().iter().find(|(name, node)| {
        is_source(name)
            && !name.eq_ignore_ascii_case(metric.kind)
            && !matches!(node.content, Content::Null)
    });
    let Some((name, node)) = other else { return };
    out.at(
        &hpa.known,
        node,
        format!(
            "the metric is of the type {}, and {name} stands there as well",
            metric.kind
        ),
        "the API server refuses it, and what was in force before stays",
        format!("an item of its own for {name}"),
    );
}

// --- Fields.

fn hpa_unknown_field(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let object = hpa.known.object;
        // What a cluster holds it knows, even where this table is older.
        if object.root.at(&["metadata", "uid"]).is_some() {
            continue;
        }
        let spec = match object.api_version.as_str() {
            "autoscaling/v2" => &SPEC,
            "autoscaling/v1" => &SPEC_V1,
            _ => continue,
        };
        // A scenario's may be its spec alone, and a patch may have none.
        let has_spec = object.root.get("spec").is_some();
        let is_whole = has_spec || object.root.get("kind").is_some();
        if is_whole {
            unknown(&hpa.known, &object.root, &ROOT, out);
        }
        if has_spec || !is_whole {
            unknown(&hpa.known, hpa.spec, spec, out);
        }
    }
}

/// Finds what is not among `fields`, in `node` or in the items of its list.
fn unknown(known: &Known<'_>, node: &Node, fields: &Fields, out: &mut Out<'_>) {
    for item in node.items() {
        unknown(known, item, fields, out);
    }
    for (name, value) in node.fields() {
        match fields.0.iter().find(|(field, _)| field == name) {
            Some((_, Some(within))) => unknown(known, value, within, out),
            Some((_, None)) => {}
            None => {
                let said = &known.object.api_version;
                let what = format!("{said} has no field {name} here");
                let why = "kubectl refuses the file; other tools apply it without the field and without a word";
                out.at(known, value, what, why, instead(name, fields));
            }
        }
    }
}

/// The field that was probably meant; all of them where none is near.
fn instead(name: &str, fields: &Fields) -> String {
    let distance = |field: &str| super::form::distance(&field.to_lowercase(), &name.to_lowercase());
    let near = fields.0.iter().map(|(field, _)| (distance(field), *field));
    match near.min() {
        Some((far, field)) if 2 * far <= name.len() => format!("write {field}"),
        _ => {
            let all: Vec<&str> = fields.0.iter().map(|(field, _)| *field).collect();
            format!("leave it out; there are {}", all.join(", "))
        }
    }
}

// --- Names.

fn name_invalid(world: &World<'_>, out: &mut Out<'_>) {
    let hpas = world.hpas.iter().map(|hpa| hpa.known);
    for known in hpas.chain(world.workloads.iter().map(|workload| workload.known)) {
        let object = known.object;
        let root = &object.root;
        let metadata = root.get("metadata");
        // A scenario's HPA need not have a name.
        let is_named = !object.name.is_empty() || root.get("kind").is_some();
        let generated = root.at(&["metadata", "generateName"]);
        if !is_named || generated.is_some() || is_dns_subdomain(&object.name) {
            continue;
        }
        let is_template = TEMPLATES.iter().any(|mark| object.name.contains(mark));
        let (what, fix) = match object.name.as_str() {
            "" => (
                "it has no name".to_owned(),
                "metadata: {name: NAME}".to_owned(),
            ),
            name if is_template => (
                format!("{name:?} is a template, which is no name yet"),
                "render it before: helm template . | taffrail lint -".to_owned(),
            ),
            name => (
                format!("no object can be called {name:?}"),
                format!("name: {}", fit(name)),
            ),
        };
        let node = root.at(&["metadata", "name"]).or(metadata).unwrap_or(root);
        out.at(&known, node, what, "the API server refuses it", fix);
    }
}

/// A name that it could have instead.
fn fit(name: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let fit: String = name.to_lowercase().chars().map(allowed).collect();
    match fit.trim_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "" => "NAME".to_owned(),
        fit => fit.to_owned(),
    }
}

fn object_twice(world: &World<'_>, out: &mut Out<'_>) {
    let hpas = world.hpas.iter().map(|hpa| hpa.known);
    let all: Vec<Known<'_>> = hpas
        .chain(world.services.iter().map(|service| service.known))
        .collect();
    for (index, known) in all.iter().enumerate() {
        let own = known.object;
        let is_same = |other: &&Known<'_>| {
            let other = other.object;
            other.source == own.source
                && other.kind == own.kind
                && other.name == own.name
                && other.namespace == own.namespace
        };
        // Those of a scenario have a service each, and no name.
        if own.name.is_empty() || !all[..index].iter().any(|other| is_same(&other)) {
            continue;
        }
        let kind = if own.kind == HPA { "HPA" } else { &own.kind };
        out.at(
            known,
            own.root.at(&["metadata", "name"]).unwrap_or(&own.root),
            format!("{kind} {} stands a second time in this file", own.name),
            "it is applied over the first one, which nobody sees any more",
            "keep one, or give it a name of its own",
        );
    }
}
