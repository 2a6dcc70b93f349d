//! Documents to the objects that rules look at. Lists are taken apart, and so are the scenarios of the load generator,
//! which hold an HPA and a RequestMetrics for each service. What an object means is [`super::view`]'s to say; here it
//! only gets a name.

use std::path::Path;
use std::sync::Arc;

use crate::config::tree::{self, Node};

/// Objects of one run, at most: a large cluster's, and a bound on what a directory can make us hold.
pub(crate) const OBJECTS_MAX: usize = 50_000;

/// Lists within lists: nobody has two, and somebody's file may have a million.
const NESTED_MAX: usize = 4;

/// Where objects come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The file as it was named, `-` for standard input, `cluster` for a cluster.
    pub(crate) name: String,
    /// Its text, for the lines that are shown; empty for a cluster.
    pub(crate) text: String,
}

/// One object of Kubernetes, whatever its kind.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Object {
    /// Which source it is of.
    pub(crate) source: usize,
    /// The folder of that source: what stands together belongs together.
    pub(crate) folder: Arc<Path>,
    /// `apiVersion`, such as `autoscaling/v2`.
    pub(crate) api_version: String,
    /// `kind`.
    pub(crate) kind: String,
    /// `metadata.namespace`, where it says one.
    pub(crate) namespace: Option<String>,
    /// `metadata.name`; empty where it has none.
    pub(crate) name: String,
    /// All of it.
    pub(crate) root: Node,
}

/// A document that could not be read, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unread {
    /// The file.
    pub(crate) source: String,
    /// Its line, where there is one.
    pub(crate) line: Option<u64>,
    /// What is wrong with it.
    pub(crate) message: String,
    /// Whether the rest can be judged without it.
    pub(crate) is_optional: bool,
}

impl Unread {
    /// A file that could not be read.
    pub(crate) fn of_file(file: &Path, message: String) -> Self {
        Self {
            source: file.display().to_string(),
            line: None,
            message,
            is_optional: false,
        }
    }
}

/// What was read.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Read {
    pub(crate) sources: Vec<Source>,
    pub(crate) objects: Vec<Object>,
    pub(crate) unread: Vec<Unread>,
    /// Whether there were more objects than are held.
    pub(crate) is_full: bool,
    /// The folder of the source that is read now.
    folder: Arc<Path>,
}

impl Default for Read {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            objects: Vec::new(),
            unread: Vec::new(),
            is_full: false,
            folder: Path::new("").into(),
        }
    }
}

impl Read {
    /// Reads the documents of a text.
    pub(crate) fn add_text(&mut self, name: &str, text: String) {
        let index = self.sources.len();
        let was_full = self.is_full;
        self.folder = Path::new(name).parent().unwrap_or(Path::new("")).into();
        for document in tree::documents(&text) {
            match document {
                Ok(root) => self.add(index, root, ("", ""), 0),
                // What templates make of it can be read, and they cannot.
                Err(broken) if text.contains("{{") => self.unread.push(Unread {
                    source: name.to_owned(),
                    line: Some(broken.line),
                    message: format!(
                        "{}; templates are rendered first: helm template . | taffrail lint -",
                        broken.message
                    ),
                    is_optional: false,
                }),
                Err(broken) => self.unread.push(Unread {
                    source: name.to_owned(),
                    line: Some(broken.line),
                    message: broken.message,
                    is_optional: false,
                }),
            }
        }
        self.say_once_full(was_full, name);
        self.sources.push(Source {
            name: name.to_owned(),
            text,
        });
    }

    /// Takes objects of a cluster.
    pub(crate) fn add_live(&mut self, objects: &[serde_json::Value]) {
        let index = self.sources.len();
        let was_full = self.is_full;
        self.sources.push(Source {
            name: "cluster".to_owned(),
            text: String::new(),
        });
        for object in objects {
            self.add(index, Node::from_json(object), ("", ""), 0);
        }
        self.say_once_full(was_full, "cluster");
    }

    /// Whatever comes after the first object without room is left out as well, and is said there once.
    fn say_once_full(&mut self, was_full: bool, name: &str) {
        if self.is_full && !was_full {
            self.unread.push(Unread {
                source: name.to_owned(),
                line: None,
                message: format!("more than {OBJECTS_MAX} objects; the others are not checked"),
                is_optional: false,
            });
        }
    }

    /// Takes in an object, or a list of them. A list of one kind says once for all its items what they are, which is then
    /// `said`: version and kind.
    fn add(&mut self, source: usize, root: Node, said: (&str, &str), nested: usize) {
        let text = |name, said: &str| {
            let own = root.get(name).and_then(Node::text);
            own.unwrap_or(said).to_owned()
        };
        let (api_version, kind) = (text("apiVersion", said.0), text("kind", said.1));
        if api_version == "loadtest/v1" {
            self.add_scenario(source, &root);
            return;
        }
        if let Some(of) = kind.strip_suffix("List")
            && nested < NESTED_MAX
            && let Some(items) = root.get("items")
        {
            for item in items.items() {
                self.add(source, item.clone(), (&api_version, of), nested + 1);
            }
            return;
        }
        if !kind.is_empty() {
            self.push(source, api_version, kind, root);
        }
    }

    /// Each service of a scenario has its HPA and its RequestMetrics, which need not say what they are.
    fn add_scenario(&mut self, source: usize, root: &Node) {
        let services = root.get("services").map_or(&[][..], Node::fields);
        for (_, service) in services {
            for (field, api_version, kind) in [
                ("hpa", "autoscaling/v2", "HorizontalPodAutoscaler"),
                ("metrics", crate::config::API_VERSION, "RequestMetrics"),
            ] {
                let Some(object) = service.get(field) else {
                    continue;
                };
                if object.get("items").is_some() {
                    self.add(source, object.clone(), ("", ""), 0);
                } else {
                    self.push(source, api_version.into(), kind.into(), object.clone());
                }
            }
        }
    }

    fn push(&mut self, source: usize, api_version: String, kind: String, root: Node) {
        if OBJECTS_MAX <= self.objects.len() {
            self.is_full = true;
            return;
        }
        let of_metadata = |name| {
            let field = root.at(&["metadata", name])?;
            field.text().map(str::to_owned)
        };
        self.objects.push(Object {
            source,
            folder: Arc::clone(&self.folder),
            api_version,
            kind,
            namespace: of_metadata("namespace"),
            name: of_metadata("name").unwrap_or_default(),
            root,
        });
    }
}

impl Object {
    /// `shop/users`, or `users` where no namespace is said.
    pub(crate) fn id(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether both are of one namespace, as far as they say. One that says none goes wherever it is applied, which is
    /// where its folder's go.
    pub(crate) fn may_meet(&self, other: &Self) -> bool {
        match (&self.namespace, &other.namespace) {
            (Some(own), Some(others)) => own == others,
            (None, None) => true,
            _ => self.folder == other.folder,
        }
    }

    /// Whether they are the same object, said twice: an overlay and its base, or two environments.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.may_meet(other)
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&Node> {
        self.root.at(&["metadata", "annotations", key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_without_room_are_said_once() {
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Service"});
        let mut read = Read::default();
        read.add_live(&vec![object.clone(); OBJECTS_MAX]);
        assert!(!read.is_full && read.unread.is_empty());
        read.add_live(&[object.clone(), object.clone()]);
        read.add_text("more.yaml", object.to_string());
        assert!(read.is_full);
        assert_eq!(read.unread.len(), 1, "{:?}", read.unread);
        assert_eq!(read.objects.len(), OBJECTS_MAX);
    }
}
