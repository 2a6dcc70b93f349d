//! A document of any kind as a tree that remembers where each field stands, for whoever looks at documents rather than
//! acting on them. Nothing is resolved and no kind is known here; what is wrong with a text is said as everywhere in
//! this room, with its line and without its values.

use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};

use super::DOCUMENTS_MAX;
use super::yaml;

/// Where something stands in its file, both counted from 1; columns count characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// One value of a document, with all that is in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it stands: its name, for a field of a mapping. An object that comes from no file has no place.
    pub at: Option<Position>,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Nothing, which to Kubernetes is the same as a field that is not there.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is written without quotes.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// A text that is no document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Where in the file; the document's first line where it is of no one line.
    pub line: u64,
    /// What is wrong and what to do.
    pub message: String,
}

/// The documents of a file. One that is broken costs only itself; the first of those that are too many stands for all of
/// them.
pub fn documents(text: &str) -> impl Iterator<Item = Result<Node, Broken>> {
    yaml::documents(text)
        .take(DOCUMENTS_MAX + 1)
        .enumerate()
        .map(|(n, (first_line, text))| {
            if n < DOCUMENTS_MAX {
                return document(first_line, text);
            }
            Err(Broken {
                line: first_line,
                message: format!(
                    "more than {DOCUMENTS_MAX} documents; those from here on are not read: split the file"
                ),
            })
        })
}

fn document(first_line: u64, text: &str) -> Result<Node, Broken> {
    let before = first_line - 1;
    match yaml::read::<Spanned<Content>>(text) {
        Ok(read) => {
            let mut root = Node::of(read.value, read.referenced);
            root.move_down(before);
            Ok(root)
        }
        Err(wrong) => Err(Broken {
            line: before + wrong.line.unwrap_or(1),
            message: wrong.message,
        }),
    }
}

// === impl Node ===

impl Node {
    fn of(content: Content, location: Location) -> Self {
        let at = (0 < location.line()).then(|| Position {
            line: location.line(),
            column: location.column().max(1),
        });
        Self { at, content }
    }

    /// A document is read as if it were alone in its file.
    fn move_down(&mut self, lines: u64) {
        if let Some(at) = &mut self.at {
            at.line += lines;
        }
        match &mut self.content {
            Content::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Content::Map(fields) => fields
                .iter_mut()
                .for_each(|(_, field)| field.move_down(lines)),
            _ => {}
        }
    }

    /// An object as the API server gives it, without places.
    pub fn from_json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(is) => Content::Bool(*is),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Content::Int(int),
                None => Content::Float(number.as_f64().unwrap_or(f64::MAX)),
            },
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(Self::from_json).collect()),
            Value::Object(fields) => Content::Map(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::from_json(value)))
                    .collect(),
            ),
        };
        Self { at: None, content }
    }

    /// The same as JSON, without places. A number that JSON has no word for becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(is) => Value::Bool(*is),
            Content::Int(int) => Value::from(*int),
            Content::Float(number) => Value::from(*number),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(fields) => fields
                .iter()
                .map(|(name, field)| (name.clone(), field.to_json()))
                .collect(),
        }
    }

    /// The field `name`, unless it is missing or null, which mean the same to Kubernetes.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let (_, field) = self.fields().iter().find(|(known, _)| known == name)?;
        (field.content != Content::Null).then_some(field)
    }

    /// The field at the end of a way of names.
    pub fn at(&self, way: &[&str]) -> Option<&Self> {
        way.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Its fields; none where it is no mapping.
    pub fn fields(&self) -> &[(String, Self)] {
        match &self.content {
            Content::Map(fields) => fields,
            _ => &[],
        }
    }

    /// Its items; none where it is no list.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// Its text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, where it is a whole one.
    pub fn int(&self) -> Option<i64> {
        match &self.content {
            Content::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        self.content == Content::Bool(true)
    }

    /// A text or a number as it would be written.
    pub fn scalar(&self) -> Option<String> {
        match &self.content {
            Content::Text(text) => Some(text.clone()),
            Content::Int(int) => Some(int.to_string()),
            Content::Float(number) => Some(number.to_string()),
            Content::Bool(is) => Some(is.to_string()),
            _ => None,
        }
    }

    /// The way to `node`, which must be this one or within it, as in `spec.metrics[0].external`.
    pub fn path_to(&self, node: &Self) -> Option<String> {
        if std::ptr::eq(self, node) {
            return Some(String::new());
        }
        let join = |step: String, rest: String| match rest.as_str() {
            "" => step,
            rest if rest.starts_with('[') => format!("{step}{rest}"),
            rest => format!("{step}.{rest}"),
        };
        match &self.content {
            Content::List(items) => items.iter().enumerate().find_map(|(index, item)| {
                let rest = item.path_to(node)?;
                Some(join(format!("[{index}]"), rest))
            }),
            Content::Map(fields) => fields.iter().find_map(|(name, field)| {
                let rest = field.path_to(node)?;
                Some(join(name.clone(), rest))
            }),
            _ => None,
        }
    }

    /// The node at a way as [`Self::path_to`] writes it, or the last one on the way that is there.
    pub fn nearest(&self, path: &str) -> &Self {
        let steps = path
            .split(['.', '['])
            .map(|step| step.trim_end_matches(']'));
        let mut node = self;
        for step in steps {
            let next = match step.parse::<usize>() {
                Ok(index) => node.items().get(index),
                Err(_) => node.get(step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The first field of a name, wherever it is.
    pub fn find(&self, name: &str) -> Option<&Self> {
        let in_fields = self.fields().iter().find_map(|(known, field)| {
            let is_it = known == name;
            is_it.then_some(field).or_else(|| field.find(name))
        });
        in_fields.or_else(|| self.items().iter().find_map(|item| item.find(name)))
    }
}

// === reading ===

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, is: bool) -> Result<Content, E> {
        Ok(Content::Bool(is))
    }

    fn visit_i64<E: de::Error>(self, int: i64) -> Result<Content, E> {
        Ok(Content::Int(int))
    }

    fn visit_u64<E: de::Error>(self, int: u64) -> Result<Content, E> {
        Ok(i64::try_from(int).map_or(Content::Float(int as f64), Content::Int))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Content, E> {
        Ok(Content::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
        Ok(Content::Text(text.to_owned()))
    }

    /// `!!binary` holds what nobody looks at here.
    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Content>>()? {
            items.push(Node::of(item.value, item.referenced));
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some(name) = map.next_key::<Spanned<Name>>()? {
            let value: Content = map.next_value()?;
            let Name(text) = name.value;
            fields.push((text, Node::of(value, name.referenced)));
        }
        Ok(Content::Map(fields))
    }
}

/// The name of a field, which YAML lets be a number.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let content = Content::deserialize(deserializer)?;
        let node = Node { at: None, content };
        match node.scalar() {
            Some(text) => Ok(Self(text)),
            None => Err(de::Error::custom("a field's name must be a text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# a comment
kind: A
---
kind: B
spec:
  list:
  - {name: x, value: \"0.95\"}
  - 0.95
  nothing: null
---
kind: [
---
{\"kind\": \"C\", \"n\": 7}
";

    fn place(node: &Node) -> (u64, u64) {
        let at = node.at.unwrap();
        (at.line, at.column)
    }

    #[test]
    fn each_field_knows_the_line_and_column_of_its_name() {
        let documents: Vec<_> = documents(TEXT).collect();
        let [a, b, broken, c] = documents.as_slice() else {
            panic!("{documents:?}");
        };
        assert_eq!(place(a.as_ref().unwrap().get("kind").unwrap()), (2, 1));
        let b = b.as_ref().unwrap();
        let list = b.at(&["spec", "list"]).unwrap();
        assert_eq!(place(list), (6, 3));
        let value = list.items()[0].get("value").unwrap();
        assert_eq!((place(value), value.text()), ((7, 15), Some("0.95")));
        assert_eq!(list.items()[1].content, Content::Float(0.95));
        assert_eq!(place(&list.items()[1]), (8, 5));
        assert_eq!(b.at(&["spec", "nothing"]), None);
        assert!(10 < broken.as_ref().unwrap_err().line, "{broken:?}");
        let n = c.as_ref().unwrap().get("n").unwrap();
        assert_eq!((place(n), n.int()), ((13, 15), Some(7)));
    }

    #[test]
    fn a_way_leads_there_and_back() {
        let documents: Vec<_> = documents(TEXT).flatten().collect();
        let node = &documents[1].at(&["spec", "list"]).unwrap().items()[0];
        let value = node.get("value").unwrap();
        let path = documents[1].path_to(value).unwrap();
        assert_eq!(path, "spec.list[0].value");
        assert!(std::ptr::eq(documents[1].nearest(&path), value));
        assert!(std::ptr::eq(
            documents[1].nearest("spec.list[0].gone.x"),
            node
        ));
        assert!(std::ptr::eq(documents[1].find("value").unwrap(), value));
        assert_eq!(
            Node::from_json(&documents[1].to_json()).to_json(),
            documents[1].to_json()
        );
    }

    #[test]
    fn too_many_documents_are_said_at_the_first_that_is_left_out() {
        let text = "---\nx\n".repeat(DOCUMENTS_MAX + 5);
        let documents: Vec<_> = documents(&text).collect();
        assert_eq!(documents.len(), DOCUMENTS_MAX + 1);
        let last = documents[DOCUMENTS_MAX].as_ref().unwrap_err();
        assert_eq!(last.line, 2 * DOCUMENTS_MAX as u64 + 1);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "([a-z:{}\\[\\]\\-&*!|>'\"#?%@, \n]|\\PC){0,120}") {
            for node in documents(&text).flatten() {
                let _ = node.to_json();
            }
        }
    }
}
