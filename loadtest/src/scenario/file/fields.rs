//! Reads the fields of a mapping one by one. What is wrong is noted with line and field, and reading goes on with the
//! default, so that a file is told everything that is wrong with it; a field that nobody asked for is unknown.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Problem;
use super::node::{Node, Value};
use crate::scenario::Span;

/// Names, of services or headers, and short texts: what fits a line of a report.
pub(super) const NAME_BYTES_MAX: usize = 253;

/// The fields of a mapping.
pub(super) struct Fields<'n, 'p> {
    path: String,
    line: u64,
    fields: &'n [(String, Node)],
    asked: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

/// A kind of value that a field may have.
pub(super) trait Read: Sized {
    /// What it is called in `must be ...`.
    const KIND: &'static str;

    /// The value, or what is wrong with it where that says more than [`Self::KIND`].
    fn read(value: &Value) -> Result<Self, Option<String>>;
}

impl<'n, 'p> Fields<'n, 'p> {
    /// The fields of `node`; when it is no mapping, that is noted, and there are none.
    pub(super) fn of(path: String, node: &'n Node, problems: &'p mut Vec<Problem>) -> Self {
        let fields = match &node.value {
            Value::Map(fields) => fields.as_slice(),
            Value::Null => &[],
            _ => {
                problems.push(Problem {
                    line: node.line,
                    field: path.clone(),
                    message: format!("must be a mapping of fields, and is {}", node.kind()),
                });
                &[]
            }
        };
        Self {
            path,
            line: node.line,
            fields,
            asked: Vec::new(),
            problems,
        }
    }

    /// The field's node; `None` when it is absent or empty.
    pub(super) fn node(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let (_, node) = self.fields.iter().find(|(written, _)| written == name)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// Whether the field is there with a value.
    pub(super) fn has(&mut self, name: &'static str) -> bool {
        self.node(name).is_some()
    }

    /// The field's value, when it is there and can be read.
    pub(super) fn get<T: Read>(&mut self, name: &'static str) -> Option<T> {
        let node = self.node(name)?;
        match T::read(&node.value) {
            Ok(value) => Some(value),
            Err(reason) => {
                let message = reason
                    .unwrap_or_else(|| format!("must be {}, and is {}", T::KIND, node.kind()));
                self.wrong(name, message);
                None
            }
        }
    }

    /// The field's value, or `default`.
    pub(super) fn or<T: Read>(&mut self, name: &'static str, default: T) -> T {
        self.get(name).unwrap_or(default)
    }

    /// The field's value, or `default`; it must be within `range`.
    pub(super) fn within<T>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<T>,
        default: T,
    ) -> T
    where
        T: Read + PartialOrd + std::fmt::Display,
    {
        let value = self.or(name, default);
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            self.wrong(name, format!("{value} is not between {least} and {most}"));
        }
        value
    }

    /// The field's value, whose absence is noted.
    pub(super) fn need<T: Read>(&mut self, name: &'static str) -> Option<T> {
        if !self.has(name) {
            let line = self.line;
            self.note(line, name, format!("is missing; it must be {}", T::KIND));
            return None;
        }
        self.get(name)
    }

    /// A text that another type reads, such as a word of a few.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text: String = self.get(name)?;
        read(&text)
            .map_err(|message| self.wrong(name, message))
            .ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(name, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| format!("`{text}` is not one of {}", all.join(", ")))
        })
    }

    /// A name that reports and checks can refer to.
    pub(super) fn name(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |text| check_name(text).map(|()| text.to_owned()))
    }

    /// What `read` makes of the fields within a field; `None` when it is absent.
    pub(super) fn inside<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_, '_>) -> T,
    ) -> Option<T> {
        let node = self.node(name)?;
        Some(self.child(name, node, read))
    }

    /// What `read` makes of each item of a list of mappings.
    pub(super) fn each<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Fields<'_, '_>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(name, max);
        let read = |(index, item)| self.child(&format!("{name}[{index}]"), item, &mut read);
        items.iter().enumerate().filter_map(read).collect()
    }

    /// What `read` makes of each named mapping within a field.
    pub(super) fn named<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut read: impl FnMut(&str, &mut Fields<'_, '_>) -> Option<T>,
    ) -> Vec<(String, T)> {
        let entries = self.entries(name, max);
        let mut all = Vec::new();
        for (key, node) in entries {
            if let Err(message) = check_name(key) {
                self.note(node.line, name, message);
                continue;
            }
            let found = self.child(&format!("{name}.{key}"), node, |fields| read(key, fields));
            all.extend(found.map(|found| (key.clone(), found)));
        }
        all
    }

    /// The named values within a field.
    pub(super) fn entries(&mut self, name: &'static str, max: usize) -> &'n [(String, Node)] {
        let Some(node) = self.node(name) else {
            return &[];
        };
        match &node.value {
            Value::Map(entries) if entries.len() <= max => entries,
            Value::Map(entries) => {
                self.wrong(name, format!("{} are more than {max}", entries.len()));
                &[]
            }
            _ => {
                self.wrong(
                    name,
                    format!("must be a mapping of fields, and is {}", node.kind()),
                );
                &[]
            }
        }
    }

    /// How many values a field holds, whatever is wrong with them; `None` where it is no mapping and no list.
    pub(super) fn count(&mut self, name: &'static str) -> Option<usize> {
        match &self.node(name)?.value {
            Value::Map(entries) => Some(entries.len()),
            Value::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// The items of a list.
    pub(super) fn items(&mut self, name: &'static str, max: usize) -> &'n [Node] {
        let Some(node) = self.node(name) else {
            return &[];
        };
        match &node.value {
            Value::List(items) if items.len() <= max => items,
            Value::List(items) => {
                self.wrong(name, format!("{} are more than {max}", items.len()));
                &[]
            }
            _ => {
                self.wrong(name, format!("must be a list, and is {}", node.kind()));
                &[]
            }
        }
    }

    /// The values of a list.
    pub(super) fn list<T: Read>(&mut self, name: &'static str, max: usize) -> Vec<T> {
        let mut values = Vec::new();
        for item in self.items(name, max) {
            match T::read(&item.value) {
                Ok(value) => values.push(value),
                Err(reason) => {
                    let message =
                        reason.unwrap_or_else(|| format!("must be a list of {}", T::KIND));
                    self.note(item.line, name, message);
                }
            }
        }
        values
    }

    /// Notes that the value of a field is wrong.
    pub(super) fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let at = self.fields.iter().find(|(written, _)| written == name);
        let line = at.map_or(self.line, |(_, node)| node.line);
        self.note(line, name, message);
    }

    /// Notes what is wrong at a line.
    pub(super) fn note(&mut self, line: u64, name: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            line,
            field: join(&self.path, name),
            message: message.into(),
        });
    }

    /// The line of what is found by these names, or of the last of them that is there.
    pub(super) fn line_at(&self, names: &[&str]) -> u64 {
        let Some((first, rest)) = names.split_first() else {
            return self.line;
        };
        let Some((_, node)) = self.fields.iter().find(|(written, _)| written == first) else {
            return self.line;
        };
        let mut node = node;
        for name in rest {
            let Some(next) = node.get(name) else { break };
            node = next;
        }
        node.line
    }

    /// The line that the mapping begins at.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Notes the fields that nobody asked for.
    pub(super) fn end(mut self) {
        self.unknown();
    }

    fn child<T>(
        &mut self,
        name: &str,
        node: &Node,
        read: impl FnOnce(&mut Fields<'_, '_>) -> T,
    ) -> T {
        let mut fields = Fields::of(join(&self.path, name), node, self.problems);
        let value = read(&mut fields);
        fields.unknown();
        value
    }

    fn unknown(&mut self) {
        let mut expected = self.asked.clone();
        expected.sort_unstable();
        expected.dedup();
        for (name, node) in self.fields {
            if !expected.contains(&name.as_str()) {
                let known = expected.join(", ");
                self.note(
                    node.line,
                    name,
                    format!("unknown field; expected one of {known}"),
                );
            }
        }
    }
}

/// Whether checks and reports can speak of it: `stage(NAME)` must end where the name does.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.chars().all(valid) {
        return Err(format!(
            "`{}` is no name: write up to {NAME_BYTES_MAX} letters, digits, and - _ .",
            name.escape_debug().take(NAME_BYTES_MAX).collect::<String>()
        ));
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}.{name}"),
    }
}

impl Read for String {
    const KIND: &'static str = "a text";

    fn read(value: &Value) -> Result<Self, Option<String>> {
        match value {
            Value::Text(text) => Ok(text.clone()),
            // `version: 1.1` and `token: 1234` are texts to whoever writes them.
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(None),
        }
    }
}

impl Read for bool {
    const KIND: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, Option<String>> {
        match value {
            Value::Bool(value) => Ok(*value),
            _ => Err(None),
        }
    }
}

impl Read for f64 {
    const KIND: &'static str = "a number";

    fn read(value: &Value) -> Result<Self, Option<String>> {
        match value {
            Value::Number(number) => number.as_f64().ok_or(None),
            _ => Err(None),
        }
    }
}

impl Read for Span {
    const KIND: &'static str = "a duration such as 30s";

    fn read(value: &Value) -> Result<Self, Option<String>> {
        match value {
            Value::Text(text) => Self::from_str(text).map_err(|error| {
                Some(format!(
                    "duration `{text}`: {error}; write `30s` or `1m30s`"
                ))
            }),
            Value::Number(number) => Err(Some(format!("{number} needs a unit: `{number}s`"))),
            _ => Err(None),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Read for $number {
            const KIND: &'static str = "a whole number";

            fn read(value: &Value) -> Result<Self, Option<String>> {
                let Value::Number(number) = value else {
                    return Err(None);
                };
                let whole = number.as_u64().and_then(|number| Self::try_from(number).ok());
                whole.ok_or_else(|| {
                    Some(format!("{number} is not a whole number between 0 and {}", Self::MAX))
                })
            }
        }
    )*};
}

whole_numbers!(u16, u32, u64, usize);
