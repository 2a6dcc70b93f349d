//! Documents to resolved specs: `RequestMetrics` here, HorizontalPodAutoscalers in [`autoscaler`].
//!
//! Two layers: [`document`] is what a person writes, field by field; [`Service`] is what the rest of the program acts
//! on, with every default filled in and every rule checked. A file holds any number of documents. One that is wrong
//! costs itself only: the others go on, and [`reload`] keeps its previous version.

pub mod autoscaler;
pub mod document;
pub mod reload;

mod field;
mod resolve;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::engine::ServiceSpec;
use crate::model::id::{ServiceId, TargetId};
use crate::model::phase::Phase;
use crate::source::SourceSpec;

use document::{Header, RequestMetrics};
use field::{Wrong, wrong};

/// The API version of the documents.
pub const API_VERSION: &str = "taffrail.dev/v1alpha1";

/// The kind of the documents.
const KIND: &str = "RequestMetrics";

/// The most documents one file may hold: what is served from one process without a cluster.
const DOCUMENTS_MAX: usize = 10_000;

/// The longest message: values that are wrong are repeated in it, and a line of a log has an end.
const MESSAGE_CHARS_MAX: usize = 500;

/// One resolved document: what the engine keeps for it, and what is read for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// Windows, objective, identity.
    pub spec: ServiceSpec,
    /// Its targets.
    pub sources: Vec<SourceSpec>,
    /// Where targets are in their life, as far as a cluster says; the others count as ready.
    pub phases: BTreeMap<TargetId, Phase>,
}

/// Something wrong in a file, where, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The line in the file, counted from 1; the document's first where it is of no one line.
    pub line: u64,
    /// The document, where its name can be read.
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

/// Reads the documents of a file.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (n, (first_line, text)) in yaml::documents(text).enumerate() {
        if DOCUMENTS_MAX <= n {
            let message = format!(
                "more than {DOCUMENTS_MAX} documents; split the file between several adapters"
            );
            parsed
                .problems
                .push(Problem::new(first_line, None, wrong(None, message)));
            break;
        }
        match read_document(first_line, text) {
            Ok(service) => parsed.add(service, first_line),
            Err(problem) => parsed.problems.push(problem),
        }
    }
    parsed
}

/// One document's text to its service. The header goes first: a document of another kind has other fields, and one
/// that is wrong further down still has a name.
fn read_document(first_line: u64, text: &str) -> Result<Service, Problem> {
    let nameless = |wrong| Problem::new(first_line, None, wrong);
    let header: Header = yaml::read_loosely(text).map_err(nameless)?;
    let id = resolve::identity(&header).map_err(nameless)?;
    let named = |wrong| Problem::new(first_line, Some(id.clone()), wrong);
    resolve::check_kind(&header).map_err(named)?;
    let document: RequestMetrics = yaml::read(text).map_err(named)?;
    resolve::resolve(id.clone(), document.spec).map_err(named)
}

// === impl Parsed ===

impl Parsed {
    fn add(&mut self, service: Service, first_line: u64) {
        match self.services.entry(service.spec.id.clone()) {
            Entry::Vacant(place) => {
                place.insert(service);
            }
            Entry::Occupied(first) => {
                let message = "a second document of this name; the first one counts, rename or remove this one";
                self.problems.push(Problem::new(
                    first_line,
                    Some(first.key().clone()),
                    wrong(None, message),
                ));
            }
        }
    }
}

// === impl Problem ===

impl Problem {
    /// What is wrong in the document that starts at a line.
    fn new(first_line: u64, service: Option<ServiceId>, wrong: Wrong) -> Self {
        let Wrong { line, mut message } = wrong;
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.replace_range(end.., "...");
        }
        Self {
            line: first_line - 1 + line.unwrap_or(1),
            service,
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(service) = &self.service {
            write!(f, "{KIND} {service}: ")?;
        }
        f.write_str(&self.message)
    }
}
