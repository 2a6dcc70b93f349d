//! Where in its file something of a scenario stands, for whoever finds fault with it later than the reader does.

use std::collections::BTreeMap;
use std::path::Path;

use super::node::{Node, Value};
use super::read_file;

/// The lines of a scenario's file. What cannot be found has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    assertions: Vec<u64>,
    hpas: BTreeMap<String, u64>,
}

impl Lines {
    /// The lines of the scenario in a file, which can be read as one; none where it cannot.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        read_file(path).map_or_else(|_| Self::default(), |text| Self::of(&text))
    }

    /// The lines of a scenario's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let Ok(document) = Node::read(text) else {
            return Self::default();
        };
        let assertions = match document.get("assertions").map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().map(|item| item.line).collect(),
            _ => Vec::new(),
        };
        let hpa = |(name, service): &(String, Node)| {
            let line = service.get("hpa").unwrap_or(service).line;
            (name.clone(), line)
        };
        let hpas = match document.get("services").map(|node| &node.value) {
            Some(Value::Map(services)) => services.iter().map(hpa).collect(),
            _ => {
                let name = match document.get("name").map(|node| &node.value) {
                    Some(Value::Text(name)) => name.clone(),
                    _ => String::new(),
                };
                let line = document.get("hpa").map(|node| node.line);
                line.map(|line| (name, line)).into_iter().collect()
            }
        };
        Self { assertions, hpas }
    }

    /// The line of the check of this number, from 0.
    #[must_use]
    pub fn assertion(&self, index: usize) -> Option<u64> {
        self.assertions.get(index).copied()
    }

    /// The line of what is said of a service's HPA, or of the service.
    #[must_use]
    pub fn hpa(&self, service: &str) -> Option<u64> {
        self.hpas.get(service).copied()
    }
}
