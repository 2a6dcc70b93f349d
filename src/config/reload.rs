//! A configuration file that is read again when it changes.
//!
//! The content is polled and compared, since a mounted ConfigMap is a symlink swap that file watchers miss. A document
//! that was right and is wrong now keeps its previous version; one that is gone is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::model::id::ServiceId;

use super::{Problem, Service, parse};

/// The largest file read: 10,000 documents of 1.6 KB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The documents in force, and the text they came from.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: Option<String>,
    services: BTreeMap<ServiceId, Service>,
    /// A text that would remove documents, seen once: an editor may be about to write the rest of it.
    doubted: Option<String>,
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
            doubted: None,
        }
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, and says what it brought if it changed. A text that removes documents has to be seen twice in a row.
    ///
    /// # Errors
    /// When it cannot be read, is too large or is not UTF-8; the documents in force stay.
    pub fn poll(&mut self) -> io::Result<Option<Reloaded>> {
        let text = read(&self.path)?;
        if self.text.as_ref() == Some(&text) {
            return Ok(None);
        }
        if self.loses_documents(&text) && self.doubted.as_ref() != Some(&text) {
            self.doubted = Some(text);
            return Ok(None);
        }
        self.doubted = None;
        let reloaded = self.apply(&text);
        self.text = Some(text);
        Ok(Some(reloaded))
    }

    fn loses_documents(&self, text: &str) -> bool {
        let parsed = parse(text);
        let stays = |id: &ServiceId| {
            let is_wrong =
                |problem: &Problem| problem.service.as_ref().is_none_or(|wrong| wrong == id);
            parsed.services.contains_key(id) || parsed.problems.iter().any(is_wrong)
        };
        !self.services.keys().all(stays)
    }

    fn apply(&mut self, text: &str) -> Reloaded {
        let parsed = parse(text);
        let mut services = parsed.services;
        // A document so broken that its name cannot be read may be any of those that are missing now.
        let is_any = parsed
            .problems
            .iter()
            .any(|problem| problem.service.is_none());
        let wrong: BTreeSet<ServiceId> = parsed
            .problems
            .iter()
            .filter_map(|problem| problem.service.clone())
            .collect();
        let mut kept = Vec::new();
        for (id, previous) in std::mem::take(&mut self.services) {
            if !services.contains_key(&id) && (is_any || wrong.contains(&id)) {
                kept.push(id.clone());
                services.insert(id, previous);
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

/// The file's text. Limited while it is read, since a path may be that of something without an end.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if FILE_BYTES_MAX < bytes.len() as u64 {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let message = format!("line {line} is not UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}
