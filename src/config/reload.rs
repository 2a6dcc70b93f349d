//! A configuration file that is read again when it changes.
//!
//! The content is polled and compared, since a mounted ConfigMap is a symlink swap that file watchers miss. A document
//! that was right and is wrong now keeps its previous version; one that is gone is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::id::ServiceId;

use super::{Problem, Service, parse};

/// The documents in force, and the text they came from.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: Option<String>,
    services: BTreeMap<ServiceId, Service>,
}

/// What a changed file brought.
#[derive(Clone, PartialEq, Debug)]
pub struct Reloaded {
    /// The documents in force now, those kept from before included.
    pub services: Vec<Service>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
    /// Documents whose previous version is kept.
    pub kept: Vec<ServiceId>,
}

impl ConfigFile {
    /// A file that was not read yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            text: None,
            services: BTreeMap::new(),
        }
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, and says what it brought if it changed.
    ///
    /// # Errors
    /// When it cannot be read; the documents in force stay.
    pub fn poll(&mut self) -> Result<Option<Reloaded>, std::io::Error> {
        let text = std::fs::read_to_string(&self.path)?;
        if self.text.as_ref() == Some(&text) {
            return Ok(None);
        }
        let reloaded = self.apply(&text);
        self.text = Some(text);
        Ok(Some(reloaded))
    }

    fn apply(&mut self, text: &str) -> Reloaded {
        let parsed = parse(text);
        let mut services = parsed.services;
        let mut kept = Vec::new();
        for id in parsed
            .problems
            .iter()
            .filter_map(|problem| problem.service.as_ref())
        {
            if let (false, Some(previous)) = (services.contains_key(id), self.services.get(id)) {
                services.insert(id.clone(), previous.clone());
                kept.push(id.clone());
            }
        }
        // A document so broken that its name cannot be read may be any of those that are missing now.
        if parsed
            .problems
            .iter()
            .any(|problem| problem.service.is_none())
        {
            for (id, previous) in &self.services {
                if !services.contains_key(id) {
                    services.insert(id.clone(), previous.clone());
                    kept.push(id.clone());
                }
            }
        }
        self.services = services;
        Reloaded {
            services: self.services.values().cloned().collect(),
            problems: parsed.problems,
            kept,
        }
    }
}
