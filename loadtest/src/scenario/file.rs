//! A scenario as people write it, in YAML, to the resolved [`Scenario`]: defaults filled in, names checked, and every
//! error of the file told at once with its line. [`Scenario::load`] reads files; everything else here is pure. Format
//! and defaults are those of the documentation; the words are k6's where they fit.

mod events;
mod fields;
mod lines;
mod load;
mod names;
mod node;
mod possible;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};

use self::fields::Fields;
pub use self::lines::Lines;
pub(crate) use self::load::{IN_FLIGHT_MAX, shorthand};
use self::names::Names;
use self::node::{Node, Value};
pub(crate) use self::service::{
    CONNECTIONS_MAX, TIMEOUTS, default_request, discovery_of, read_url,
};
pub use self::service::{default_connections, default_http};
use super::assertion::{ErrorRate, FailureClass};
use super::{
    Assertion, Check, Outputs, Preconditions, Repeat, Safety, Scenario, Scope, Service, Share, Slo,
    Span, Threshold,
};

/// Bytes of a scenario, and of a file that it names: a hundred times what a person writes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a trace: a week of seconds, with room for comments.
const TRACE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Services of a scenario: each has pods where it is played.
const SERVICES_MAX: usize = 64;

/// Loads of a scenario: each has an engine.
const LOADS_MAX: usize = 64;

/// Checks of a scenario, and thresholds.
const CHECKS_MAX: usize = 1_000;

/// Problems that are told of one file; whoever has more has another kind of file.
const PROBLEMS_MAX: usize = 50;

/// The share of requests that may fail where a scenario says nothing of it.
const ERROR_RATE_MAX: f64 = 0.01;

/// The only version of the format, which a file need not name.
const API_VERSION: &str = "loadtest/v1";

/// Why a file is no scenario: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file, as it was named.
    pub file: String,
    /// In order of their lines.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The field, as `scenarios.main.stages[2].duration`; empty for the file as a whole.
    pub field: String,
    /// What is wrong with it, and what to write.
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(PROBLEMS_MAX).enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.file)?;
            if 0 < problem.line {
                write!(f, ":{}", problem.line)?;
            }
            if !problem.field.is_empty() {
                write!(f, ": {}", problem.field)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        match self.problems.len().saturating_sub(PROBLEMS_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}

impl Scenario {
    /// Reads a scenario and the files that it names, which are relative to its own.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        let file = path.display().to_string();
        let text = read_file(path).map_err(|error| FileError {
            file: file.clone(),
            problems: vec![whole(format!("cannot be read: {error}"))],
        })?;
        let beside = path.parent().unwrap_or(Path::new("."));
        Self::read(&file, &text, |name| read_file(&beside.join(name)))
    }

    /// Reads a scenario of which `file` is the name in errors; `include` has the text of a file that it names.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn read(
        file: &str,
        text: &str,
        include: impl Fn(&str) -> io::Result<String>,
    ) -> Result<Self, FileError> {
        let fail = |mut problems: Vec<Problem>| {
            problems.sort();
            FileError {
                file: file.to_owned(),
                problems,
            }
        };
        let document = Node::read(text).map_err(|problem| fail(vec![problem]))?;
        let mut problems = Vec::new();
        let mut fields = Fields::of(String::new(), &document, &mut problems);
        let mut scenario = read(&mut fields);
        include_files(&mut scenario, &include, &mut fields);
        fields.end();
        if problems.is_empty() {
            Ok(scenario)
        } else {
            Err(fail(problems))
        }
    }
}

impl Scenario {
    /// Adds the check that every scenario has that says nothing of failed requests: a server that answers nothing must
    /// not pass because nobody thought of it. `error_rate: { max: 1 }` switches it off.
    pub(crate) fn check_errors(&mut self) {
        let speaks = |check: &Check| matches!(check, Check::ErrorRate(_) | Check::ErrorBudget(_));
        let asserted = self
            .assertions
            .iter()
            .any(|assertion| speaks(&assertion.check));
        let thresholds = self
            .thresholds
            .keys()
            .any(|key| key.starts_with("http_req_failed"));
        if asserted || thresholds {
            return;
        }
        let loaded: BTreeSet<&String> = self.scenarios.values().map(|load| &load.service).collect();
        let check = |service: &String| Assertion {
            service: (1 < self.services.len()).then(|| service.clone()),
            check: Check::ErrorRate(ErrorRate {
                scope: Scope::default(),
                class: FailureClass::default(),
                max: Share::new(ERROR_RATE_MAX).unwrap_or_default(),
            }),
        };
        let checks: Vec<Assertion> = loaded.into_iter().map(check).collect();
        self.assertions.extend(checks);
    }
}

/// The text of a trace that a scenario names, which is relative to the folder of the scenario's file.
///
/// # Errors
/// When it cannot be read, or is larger than any trace.
pub fn read_trace(folder: &Path, name: &str) -> io::Result<String> {
    read_bounded(&folder.join(name), TRACE_BYTES_MAX)
}

/// The objects of a YAML file of Kubernetes: one, or several between lines of `---`.
pub(crate) fn read_objects(path: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let file = path.display();
    let text = read_file(path).with_context(|| format!("reading {file}"))?;
    let mut objects = Vec::new();
    let mut first_line = 0;
    for document in documents(&text) {
        let read = Node::read(document);
        let node = read.map_err(|problem| {
            anyhow!("{file}:{}: {}", first_line + problem.line, problem.message)
        })?;
        first_line += document.lines().count() as u64 + 1;
        // A file may begin or end with a line of `---`.
        if !matches!(node.value, Value::Null) {
            objects.push(node.json());
        }
    }
    Ok(objects)
}

/// The documents of a YAML text, which lines of `---` divide.
fn documents(text: &str) -> Vec<&str> {
    let (mut documents, mut begin, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            documents.push(&text[begin..at]);
            begin = at + line.len();
        }
        at += line.len();
    }
    documents.push(&text[begin..]);
    documents
}

/// The text of a file, unless it is too large.
pub(crate) fn read_file(path: &Path) -> io::Result<String> {
    read_bounded(path, FILE_BYTES_MAX)
}

/// The text of a file of `max` bytes at most.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(max + 1)
        .read_to_string(&mut text)?;
    if max < text.len() as u64 {
        return Err(io::Error::other(format!("it has more than {max} bytes")));
    }
    Ok(text)
}

fn whole(message: String) -> Problem {
    Problem {
        line: 0,
        field: String::new(),
        message,
    }
}

fn read(fields: &mut Fields<'_, '_>) -> Scenario {
    if fields
        .get::<String>("apiVersion")
        .is_some_and(|version| version != API_VERSION)
    {
        fields.wrong("apiVersion", format!("must be {API_VERSION}"));
    }
    let name = fields.name("name");
    if !fields.has("name") {
        fields.need::<String>("name");
    }
    let name = name.unwrap_or_else(|| "scenario".to_owned());
    let description = fields.or("description", String::new());
    let seed = fields.or("seed", 1);
    let services = services(&name, fields);
    let only = services
        .keys()
        .next()
        .filter(|_| services.len() == 1)
        .cloned();
    let scenarios = fields.named("scenarios", LOADS_MAX, |name, load| {
        let read = load::read(name, only.as_deref(), load)?;
        if let Some(stage) = load::repeated_stage(&read) {
            load.wrong("stages", format!("two are named `{stage}`"));
        }
        Some(read)
    });
    if !fields.has("scenarios") {
        let line = fields.line();
        fields.note(
            line,
            "scenarios",
            "is missing; write `scenarios: { main: { profile: \"50@2m\" } }`",
        );
    }
    let known = names::services(fields);
    let scenarios: BTreeMap<_, _> = scenarios.into_iter().collect();
    let end = possible::end(&scenarios, fields.count("scenarios"));
    let events = events::read(fields, &services, &known, end);
    let mut scenario = Scenario {
        name,
        description,
        seed,
        services,
        scenarios,
        events,
        slo: fields.inside("slo", slo).flatten(),
        run: fields.inside("run", repeat).unwrap_or_default(),
        preconditions: fields
            .inside("preconditions", preconditions)
            .unwrap_or_default(),
        safety: fields.inside("safety", safety).unwrap_or_default(),
        report: fields.inside("report", outputs).unwrap_or_default(),
        ..Scenario::default()
    };
    names::check(&scenario, &known, fields);
    possible::check_calls(&scenario, fields);
    let names = Names::of(&scenario, known, fields);
    scenario.assertions = assertions(fields, &names, &possible::Lengths::of(&scenario, end));
    scenario.thresholds = thresholds(fields);
    scenario.check_errors();
    scenario
}

/// The services by name; one that is written at the top is named like the scenario.
fn services(name: &str, fields: &mut Fields<'_, '_>) -> BTreeMap<String, Service> {
    if fields.has("services") {
        let read = |_: &str, service: &mut Fields<'_, '_>| Some(service::read(service));
        return fields
            .named("services", SERVICES_MAX, read)
            .into_iter()
            .collect();
    }
    BTreeMap::from([(name.to_owned(), service::read(fields))])
}

fn assertions(
    fields: &mut Fields<'_, '_>,
    names: &Names,
    lengths: &possible::Lengths,
) -> Vec<Assertion> {
    let mut assertions = Vec::new();
    for (index, item) in fields.items("assertions", CHECKS_MAX).iter().enumerate() {
        let json = item.json();
        let at = format!("assertions[{index}]");
        let wrong = names.wrong_in(&json);
        match serde_json::from_value::<Assertion>(json) {
            Ok(assertion) => {
                if let Some(message) = possible::wrong_with(&assertion.check, lengths) {
                    fields.note(item.line, &at, message);
                }
                assertions.push(assertion);
            }
            Err(error) => fields.note(item.line, &at, error.to_string()),
        }
        for message in wrong {
            fields.note(item.line, &at, message);
        }
    }
    assertions
}

fn thresholds(fields: &mut Fields<'_, '_>) -> BTreeMap<String, Vec<Threshold>> {
    let mut thresholds = BTreeMap::new();
    for (subject, node) in fields.entries("thresholds", CHECKS_MAX) {
        let Value::List(items) = &node.value else {
            fields.note(
                node.line,
                "thresholds",
                format!("`{subject}` must be a list such as ['p(95)<300']"),
            );
            continue;
        };
        let read = items.iter().filter_map(|item| {
            let threshold = threshold(item);
            if threshold.is_none() {
                let message = format!(
                    "`{subject}` must be a list of texts such as 'p(95)<300', or of mappings with \
                     threshold, abortOnFail and delayAbortEval"
                );
                fields.note(item.line, "thresholds", message);
            }
            threshold
        });
        thresholds.insert(subject.clone(), read.collect());
    }
    thresholds
}

/// A threshold as a text, or as a mapping that says when it ends the run.
fn threshold(item: &Node) -> Option<Threshold> {
    if let Value::Text(threshold) = &item.value {
        return Some(Threshold {
            threshold: threshold.clone(),
            abort_on_fail: false,
            delay_abort_eval: Span::default(),
        });
    }
    let mut problems = Vec::new();
    let mut fields = Fields::of(String::new(), item, &mut problems);
    let threshold = fields.need("threshold");
    let abort_on_fail = fields.or("abortOnFail", false);
    let delay_abort_eval = fields.or("delayAbortEval", Span::default());
    fields.end();
    problems.is_empty().then_some(Threshold {
        threshold: threshold?,
        abort_on_fail,
        delay_abort_eval,
    })
}

fn slo(fields: &mut Fields<'_, '_>) -> Option<Slo> {
    let written = fields.or("quantile", 0.95);
    // 95 and 0.95 are the same quantile to whoever writes one; 1 is the maximum.
    let quantile = if 1.0 < written {
        written / 100.0
    } else {
        written
    };
    if !(0.0..1.0).contains(&quantile) || quantile <= 0.0 {
        fields.wrong(
            "quantile",
            format!("{written} is not between 0 and 1, or between 1 and 100"),
        );
    }
    let window = fields.or("window", Span::from_secs(10));
    let max_window = fields.or("maxWindow", window.max(Span::from_secs(60)));
    if window < Span::from_secs(1) || max_window < window {
        fields.wrong(
            "window",
            "must be 1s at least, and not longer than maxWindow",
        );
    }
    let target = fields.need::<Span>("target");
    if target.is_some_and(|target| target.is_zero()) {
        fields.wrong("target", "must be above zero");
    }
    Some(Slo {
        quantile,
        target: target?,
        window,
        max_window,
    })
}

fn repeat(fields: &mut Fields<'_, '_>) -> Repeat {
    let repeat = fields.within("repeat", 1..=100, 1);
    let pass = fields.within("pass", 1..=100, repeat);
    if repeat < pass {
        fields.wrong("pass", format!("{pass} of {repeat} runs cannot pass"));
    }
    Repeat { repeat, pass }
}

fn preconditions(fields: &mut Fields<'_, '_>) -> Preconditions {
    let default = Preconditions::default();
    let mut wanted = BTreeMap::new();
    for (service, node) in fields.entries("replicas", SERVICES_MAX) {
        match <u32 as fields::Read>::read(&node.value) {
            Ok(count) => {
                wanted.insert(service.clone(), count);
            }
            Err(_) => fields.note(
                node.line,
                "replicas",
                format!("`{service}` must be a whole number"),
            ),
        }
    }
    Preconditions {
        replicas: wanted,
        quiet: fields.or("quiet", default.quiet),
        timeout: fields.or("timeout", default.timeout),
    }
}

fn safety(fields: &mut Fields<'_, '_>) -> Safety {
    let default = Safety::default();
    Safety {
        max_error_rate: fields.within("maxErrorRate", 0.0..=1.0, default.max_error_rate),
        for_: fields.or("for", default.for_),
        allow_namespaces: fields.list("allowNamespaces", CHECKS_MAX),
    }
}

fn outputs(fields: &mut Fields<'_, '_>) -> Outputs {
    Outputs {
        json: fields.get("json"),
        junit: fields.get("junit"),
        html: fields.get("html"),
        openmetrics: fields.get("openmetrics"),
        prometheus: fields.get("prometheus"),
    }
}

/// Puts objects in the place of the files that hold them.
fn include_files(
    scenario: &mut Scenario,
    include: &impl Fn(&str) -> io::Result<String>,
    fields: &mut Fields<'_, '_>,
) {
    for service in scenario.services.values_mut() {
        for object in [&mut service.hpa, &mut service.metrics] {
            let Some(serde_json::Value::String(file)) = object else {
                continue;
            };
            let read = include(file)
                .map_err(|error| format!("cannot be read: {error}"))
                .and_then(|text| {
                    Node::read(&text)
                        .map_err(|problem| format!("line {}: {}", problem.line, problem.message))
                });
            match read {
                Ok(node) => *object = Some(node.json()),
                Err(message) => fields.note(0, "", format!("{file}: {message}")),
            }
        }
    }
}

#[cfg(test)]
mod tests;
