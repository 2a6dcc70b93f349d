//! `RequestMetrics` documents to resolved specs.
//!
//! Two layers: [`document`] is what a person writes, field by field; [`Service`] is what the rest of the program acts
//! on, with every default filled in and every rule checked. A file holds any number of documents. One that is wrong
//! costs itself only: the others go on, and [`reload`] keeps its previous version.

pub mod autoscaler;
pub mod document;
pub mod reload;

mod resolve;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::engine::ServiceSpec;
use crate::model::id::ServiceId;
use crate::source::SourceSpec;

use document::RequestMetrics;

/// The API version of the documents.
pub const API_VERSION: &str = "taffrail.dev/v1alpha1";

/// The most documents one file may hold: what is served from one process without a cluster.
const DOCUMENTS_MAX: usize = 10_000;

/// The largest file read: 10,000 documents of 1.6 KB.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One resolved document: what the engine keeps for it, and what is read for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// Windows, objective, identity.
    pub spec: ServiceSpec,
    /// Its targets.
    pub sources: Vec<SourceSpec>,
}

/// Something wrong in a file, where, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The line in the file, counted from 1, where it is known.
    pub line: Option<u64>,
    /// The document, where its name could be read.
    pub service: Option<ServiceId>,
    /// What is wrong and what to do.
    pub message: String,
}

/// What a file holds: the documents that are right, and the problems of the others.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parsed {
    /// By identity, so in a fixed order.
    pub services: BTreeMap<ServiceId, Service>,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(service) = &self.service {
            write!(f, "RequestMetrics {service}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads the documents of a file.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if FILE_BYTES_MAX < text.len() {
        parsed.problems.push(Problem::new(
            None,
            format!(
                "the file has {} bytes, at most {FILE_BYTES_MAX} are read",
                text.len()
            ),
        ));
        return parsed;
    }
    for (n, (first_line, text)) in documents(text).enumerate() {
        if DOCUMENTS_MAX <= n {
            let message = format!(
                "more than {DOCUMENTS_MAX} documents; split the file between several adapters"
            );
            parsed
                .problems
                .push(Problem::new(Some(first_line), message));
            break;
        }
        match read_document(first_line, text) {
            Ok(service) => parsed.add(service, first_line),
            Err(problem) => parsed.problems.push(problem),
        }
    }
    parsed
}

/// One document's text to its service.
fn read_document(first_line: u64, text: &str) -> Result<Service, Problem> {
    let document: RequestMetrics = serde_saphyr::from_str(text).map_err(|error| {
        let line = error
            .location()
            .map(|location| first_line - 1 + location.line());
        // The library's text repeats the line within the document and draws a snippet: the first line says it all.
        let message = error.without_snippet().to_string();
        let message = message
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        Problem {
            service: name_of(text),
            ..Problem::new(line.or(Some(first_line)), message)
        }
    })?;
    let id = document.id();
    resolve::resolve(document).map_err(|wrong| Problem {
        line: Some(first_line - 1 + wrong.line.unwrap_or(1)),
        service: Some(id),
        message: wrong.message,
    })
}

/// The documents of a file with the line each starts at. They are parsed one by one, since a YAML parser that fell
/// over the first could not say anything of the second.
fn documents(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut starts = vec![(1, 0)];
    let mut offset = 0;
    for (n, line) in text.split_inclusive('\n').enumerate() {
        offset += line.len();
        if line.trim_end() == "---" || line.starts_with("--- ") {
            starts.push((n as u64 + 2, offset));
        }
    }
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .map(|(_, start)| *start)
        .chain([text.len()])
        .collect();
    starts
        .into_iter()
        .zip(ends)
        .filter_map(move |((line, start), end)| {
            let document = text[start..end].trim_end().trim_end_matches("---");
            let is_empty = document
                .lines()
                .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
            (!is_empty).then_some((line, document))
        })
}

/// The name of a document that does not parse, read loosely, so that its previous version can be kept.
fn name_of(text: &str) -> Option<ServiceId> {
    let loose: document::Named = serde_saphyr::from_str(text).ok()?;
    Some(loose.metadata.id())
}

// === impl Parsed ===

impl Parsed {
    fn add(&mut self, service: Service, line: u64) {
        let id = service.spec.id.clone();
        if self.services.contains_key(&id) {
            let problem = Problem::new(
                Some(line),
                "a second document of this name; the first one counts, rename or remove this one",
            );
            self.problems.push(Problem {
                service: Some(id),
                ..problem
            });
            return;
        }
        self.services.insert(id, service);
    }
}

impl Problem {
    fn new(line: Option<u64>, message: impl Into<String>) -> Self {
        Self {
            line,
            service: None,
            message: message.into(),
        }
    }
}
