//! Documents to resolved specs: `RequestMetrics` here, HorizontalPodAutoscalers in [`autoscaler`].
//!
//! The same documents come from a file ([`parse`]) and, one at a time, from the Kubernetes API ([`object`]). One resolver
//! has one set of rules for both; they differ only in what they may name, since the author of an object need not be
//! who runs the adapter: a file names addresses, files and variables, an object selects pods and names Secrets of its
//! own namespace.
//!
//! Two layers: [`document`] is what a person writes, field by field; [`Service`] is what the rest of the program acts
//! on, with every default filled in and every rule checked. A file holds any number of documents. One that is wrong
//! costs itself only: the others go on, and [`reload`] keeps its previous version.

pub mod autoscaler;
pub mod document;
pub mod reload;
pub mod tree;

mod field;
mod resolve;
mod selection;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use crate::engine::ServiceSpec;
use crate::model::id::{ServiceId, TargetId};
use crate::model::phase::Phase;
use crate::model::pod::Pod;
use crate::source::SourceSpec;
use crate::source::secret::SecretKey;

use document::{Header, RequestMetrics};
use field::{Origin, Wrong, wrong};

pub use selection::{PodPort, PodSelection};

/// The API version of the documents.
pub const API_VERSION: &str = "taffrail.dev/v1alpha1";

/// The kind of the documents.
const KIND: &str = "RequestMetrics";

/// The most documents one file may hold: what is served from one process without a cluster.
const DOCUMENTS_MAX: usize = 10_000;

/// The longest message: values that are wrong are repeated in it, and a line of a log has an end.
const MESSAGE_CHARS_MAX: usize = 500;

/// The most Secrets one object may refer to: each is read again and again. Header, user, password and authority make four.
pub const SECRETS_MAX: usize = 16;

/// One resolved document: what the engine keeps for it, and what is read for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Service {
    /// Windows, objective, identity.
    pub spec: ServiceSpec,
    /// Its targets.
    pub sources: Vec<SourceSpec>,
    /// Where targets are in their life, as far as a cluster says; the others count as ready.
    pub phases: BTreeMap<TargetId, Phase>,
    /// Which pods targets are, where single pods can be asked for.
    pub pods: BTreeMap<TargetId, Pod>,
}

/// One resolved object of the Kubernetes API.
#[derive(Clone, PartialEq, Debug)]
pub struct Object {
    /// As a document's; without targets where `pods` says how they are found.
    pub service: Service,
    /// Which pods are its targets.
    pub pods: Option<PodSelection>,
}

/// Something wrong in a document, where, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The line in the file, counted from 1; the document's first where it is of no one line. An object has none.
    pub line: Option<u64>,
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
                .push(Problem::new(Some(first_line), None, wrong(None, message)));
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
    let nameless = |wrong| Problem::new(Some(first_line), None, wrong);
    let header: Header = yaml::read_loosely(text).map_err(nameless)?;
    let id = resolve::identity(&header).map_err(nameless)?;
    let named = |wrong| Problem::new(Some(first_line), Some(id.clone()), wrong);
    let object = read_spec(text, &header, &id, Origin::File).map_err(named)?;
    Ok(object.service)
}

/// Reads one whole object as the API server gives it, in JSON, which is YAML.
///
/// # Errors
/// What is wrong, without a line. The API server's own checks leave little: what no schema can say.
pub fn object(text: &str) -> Result<Object, Problem> {
    let nameless = |wrong| Problem::new(None, None, wrong);
    let header: Header = yaml::read_loosely(text).map_err(nameless)?;
    let id = resolve::identity(&header).map_err(nameless)?;
    let origin = Origin::Object {
        namespace: &id.namespace,
    };
    let named = |wrong| Problem::new(None, Some(id.clone()), wrong);
    let object = read_spec(text, &header, &id, origin).map_err(named)?;
    let secrets = object.secrets().len();
    if SECRETS_MAX < secrets {
        let message =
            format!("the spec refers to {secrets} keys of Secrets, at most {SECRETS_MAX} are read");
        return Err(named(wrong(None, message)));
    }
    Ok(object)
}

/// The documents that a scenario says of a service: one, or the items of a `List`. A head may be left out: a document is
/// then called as the service is.
pub fn documents_of(written: Option<&Value>, service: &str) -> Vec<Value> {
    let items = written.map(|written| {
        let items = written.get("items").and_then(Value::as_array);
        items.map_or(std::slice::from_ref(written), Vec::as_slice)
    });
    let with_head = |document: &Value| {
        let mut whole = Map::new();
        whole.insert("apiVersion".to_owned(), json!(API_VERSION));
        whole.insert("kind".to_owned(), json!("RequestMetrics"));
        whole.insert("metadata".to_owned(), json!({"name": service}));
        match document.as_object() {
            Some(fields) if fields.contains_key("spec") => whole.extend(fields.clone()),
            _ => drop(whole.insert("spec".to_owned(), document.clone())),
        }
        Value::Object(whole)
    };
    items.into_iter().flatten().map(with_head).collect()
}

/// The first field of a document's pods that says something else than the pods that a scenario plays: their page, by
/// `page` in the document's own words, and their label `app`, which is `service`.
pub fn unlike_played(document: &Value, service: &str, page: &[(&str, &str)]) -> Option<String> {
    let said = |pointer: &str| document.pointer(&format!("/spec/source/pods/{pointer}"));
    let label = ("selector/matchLabels/app", service);
    page.iter()
        .copied()
        .chain([label])
        .find_map(|(pointer, played)| {
            let written = said(pointer)?.as_str()?;
            let field = pointer.replace('/', ".");
            let is_other = written != played;
            is_other.then(|| {
                format!(
                    "{field} is {written:?}, and that of the pods that are played is {played:?}"
                )
            })
        })
}

fn read_spec(
    text: &str,
    header: &Header,
    id: &ServiceId,
    origin: Origin<'_>,
) -> field::Checked<Object> {
    resolve::check_kind(header)?;
    let document: RequestMetrics = yaml::read(text)?;
    resolve::resolve(id.clone(), document.spec, origin)
}

// === impl Object ===

impl Object {
    /// The Secrets it refers to, at most [`SECRETS_MAX`], all in its own namespace.
    pub fn secrets(&self) -> BTreeSet<SecretKey> {
        let mut secrets = BTreeSet::new();
        if let Some(pods) = &self.pods {
            pods.add_secrets(&mut secrets);
        }
        for source in &self.service.sources {
            if let SourceSpec::Redis(redis) = source {
                secrets.extend(redis.connection.secrets().cloned());
            }
        }
        secrets
    }
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
                    Some(first_line),
                    Some(first.key().clone()),
                    wrong(None, message),
                ));
            }
        }
    }
}

// === impl Problem ===

impl Problem {
    /// What is wrong in the document that starts at a line of a file, or is none of a file.
    fn new(first_line: Option<u64>, service: Option<ServiceId>, wrong: Wrong) -> Self {
        let Wrong { line, mut message } = wrong;
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.replace_range(end.., "...");
        }
        Self {
            line: first_line.map(|first| first - 1 + line.unwrap_or(1)),
            service,
            message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(service) = &self.service {
            write!(f, "{KIND} {service}: ")?;
        }
        f.write_str(&self.message)
    }
}
