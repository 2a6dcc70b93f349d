//! Links between pages, to files and to headings.

use std::path::Path;

use super::page::{self, Page};
use crate::fixtures::tools::ROOT;

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in page::all() {
        for (line, link) in page.links() {
            if let Err(why) = follow(&page, &link) {
                wrong.push(format!("{}:{line}: {link}: {why}", page.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Follows a link as a browser of the repository does; other hosts are not asked.
fn follow(page: &Page, link: &str) -> Result<(), String> {
    if link.starts_with("https://") {
        return Ok(());
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let target = match path {
        "" => page.path.clone(),
        path => resolve(&page.path, path)?,
    };
    if !Path::new(ROOT).join(&target).exists() {
        return Err(format!("{target} is not there"));
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let anchors = Page::read(&target).anchors();
    match anchors.contains(anchor) {
        true => Ok(()),
        false => Err(format!("{target} has only {anchors:?}")),
    }
}

/// A path relative to a page, from the root.
fn resolve(page: &str, path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            ".." => parts
                .pop()
                .map(|_| ())
                .ok_or("it leads out of the repository")?,
            "." => {}
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}
