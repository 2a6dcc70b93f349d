//! A page of Markdown as far as its tests need it: fenced blocks, headings with their anchors, links, and what stands in
//! backticks. It knows no more of Markdown than the pages use.

use std::collections::BTreeSet;
use std::path::Path;

/// The root of this repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Folders that hold no pages of ours.
const PASSED_OVER: &[&str] = &["target", ".git", "node_modules"];

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path from the root.
    pub(crate) path: String,
    text: String,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of the fence, from 1.
    pub(crate) line: usize,
    /// The heading that it stands below.
    pub(crate) heading: String,
    /// The first word after the fence.
    pub(crate) language: String,
    /// The others.
    pub(crate) words: Vec<String>,
    /// What is in it.
    pub(crate) text: String,
}

impl Page {
    /// The page at a path from the root.
    pub(crate) fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(Path::new(ROOT).join(path));
        Self {
            path: path.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
        }
    }

    /// Its fenced blocks.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut heading = "";
        let mut is_open = false;
        for (index, line) in self.text.lines().enumerate() {
            match line.strip_prefix("```") {
                Some(_) if is_open => is_open = false,
                Some(words) => {
                    is_open = true;
                    let mut words = words.split_whitespace().map(str::to_owned);
                    blocks.push(Block {
                        line: index + 1,
                        heading: heading.to_owned(),
                        language: words.next().unwrap_or_default(),
                        words: words.collect(),
                        text: String::new(),
                    });
                }
                None if is_open => {
                    if let Some(block) = blocks.last_mut() {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                }
                None => heading = title(line).unwrap_or(heading),
            }
        }
        assert!(!is_open, "{}: a block has no end", self.path);
        blocks
    }

    /// The blocks below a heading.
    pub(crate) fn section(&self, heading: &str) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.heading == heading);
        blocks
    }

    /// The lines outside of blocks, with their numbers from 1.
    pub(crate) fn prose(&self) -> Vec<(usize, &str)> {
        let mut is_open = false;
        let mut prose = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                is_open = !is_open;
            } else if !is_open {
                prose.push((index + 1, line));
            }
        }
        prose
    }

    /// What stands in backticks in the prose, with its line. A span may go on over the end of a line.
    pub(crate) fn code_spans(&self) -> Vec<(usize, String)> {
        let mut spans = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in self.prose() {
            let mut parts = line.split('`').peekable();
            while let Some(part) = parts.next() {
                if let Some((_, text)) = &mut open {
                    text.push_str(part);
                }
                if parts.peek().is_none() {
                    break;
                }
                match open.take() {
                    Some(span) => spans.push(span),
                    None => open = Some((number, String::new())),
                }
            }
            match &mut open {
                _ if line.is_empty() => open = None,
                Some((_, text)) => text.push(' '),
                None => {}
            }
        }
        spans
    }

    /// Where links of the prose lead, with their lines.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            for (at, _) in line.match_indices("](") {
                let rest = &line[at + 2..];
                if let Some((target, _)) = rest.split_once(')') {
                    links.push((number, target.to_owned()));
                }
            }
        }
        links
    }

    /// The anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let titles = prose.iter().filter_map(|(_, line)| title(line));
        titles.map(anchor).collect()
    }
}

impl Block {
    /// Whether it is of this language with these words.
    pub(crate) fn is(&self, language: &str, words: &[&str]) -> bool {
        self.language == language && self.words == words
    }

    /// The file that it is, for the commands of its page.
    pub(crate) fn file(&self) -> Option<&str> {
        let word = self.words.first()?;
        word.contains('.').then_some(word)
    }

    /// The commands of a block of `sh`, each as one line with single spaces: one ends where a line ends that neither says
    /// that it goes on nor leaves a quote open.
    pub(crate) fn commands(&self) -> Vec<String> {
        if self.language != "sh" {
            return Vec::new();
        }
        let mut commands = Vec::new();
        let mut open = String::new();
        for line in self.text.lines() {
            let goes_on = line.strip_suffix('\\');
            open.push_str(goes_on.unwrap_or(line));
            open.push(' ');
            let is_quoted = open.matches('\'').count() % 2 == 1;
            if goes_on.is_none() && !is_quoted {
                let words: Vec<&str> = open.split_whitespace().collect();
                commands.push(words.join(" "));
                open.clear();
            }
        }
        commands.retain(|command| !command.is_empty() && !command.starts_with('#'));
        commands
    }
}

/// The README and the pages that are installed and run by: in the order in which somebody reads them.
pub(crate) fn documented() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned()];
    let mut found = Vec::new();
    find("deploy/docs", &mut found);
    found.sort();
    paths.append(&mut found);
    assert!(10 < paths.len(), "{paths:?}");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// Every page of the repository.
pub(crate) fn all() -> Vec<Page> {
    let mut found = Vec::new();
    find("", &mut found);
    found.sort();
    found.iter().map(|path| Page::read(path)).collect()
}

fn find(folder: &str, found: &mut Vec<String>) {
    let entries = std::fs::read_dir(Path::new(ROOT).join(folder));
    for entry in entries.unwrap_or_else(|error| panic!("{folder}: {error}")) {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = match folder {
            "" => name.clone(),
            folder => format!("{folder}/{name}"),
        };
        // A link to a folder leads to one that is found by itself.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !PASSED_OVER.contains(&&*name) {
            find(&path, found);
        } else if !is_folder && name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// The text of a heading.
fn title(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let depth = line.len() - title.len();
    (0 < depth && depth <= 6).then(|| title.strip_prefix(' '))?
}

/// Letters, digits, hyphens and underscores in lower case, and a hyphen for each space.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}
