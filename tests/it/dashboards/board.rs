//! A board as it is in its file, as far as the tests look at it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

use super::path;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Board {
    /// The name of its file, without the ending.
    #[serde(skip)]
    pub(super) name: &'static str,
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) tags: Vec<String>,
    pub(super) editable: bool,
    pub(super) timezone: String,
    pub(super) schema_version: u32,
    pub(super) time: Range,
    pub(super) refresh: String,
    pub(super) links: Vec<Link>,
    pub(super) annotations: List<Annotation>,
    pub(super) templating: List<Variable>,
    pub(super) panels: Vec<Panel>,
}

/// The time range that a board opens with.
#[derive(Deserialize)]
pub(super) struct Range {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    pub(super) list: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    pub(super) url: String,
    pub(super) include_vars: bool,
    pub(super) keep_time: bool,
}

#[derive(Deserialize)]
pub(super) struct Annotation {
    pub(super) name: String,
    pub(super) datasource: Datasource,
    pub(super) expr: String,
}

#[derive(Deserialize, PartialEq, Debug)]
pub(super) struct Datasource {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) label: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) query: String,
    pub(super) datasource: Option<Datasource>,
    pub(super) refresh: Option<u8>,
    #[serde(default)]
    pub(super) multi: bool,
    #[serde(default)]
    pub(super) include_all: bool,
    pub(super) all_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Panel {
    pub(super) id: u32,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: String,
    #[serde(default)]
    pub(super) description: String,
    pub(super) datasource: Option<Datasource>,
    #[serde(default)]
    pub(super) field_config: Value,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) transformations: Vec<Value>,
    pub(super) grid_pos: Place,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) ref_id: String,
    pub(super) datasource: Datasource,
    pub(super) expr: String,
    #[serde(default)]
    pub(super) legend_format: String,
}

#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

impl Board {
    pub(super) fn read(name: &'static str) -> Self {
        let text = std::fs::read_to_string(path("boards").join(format!("{name}.json"))).unwrap();
        let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, ..board }
    }

    /// Panels that show something: all but the headings of rows.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Panel> {
        self.panels.iter().filter(|panel| panel.kind != "row")
    }

    /// Every expression but those of variables, with where it is.
    pub(super) fn expressions(&self) -> impl Iterator<Item = (String, &str)> {
        let of_panels = self.shown().flat_map(|panel| {
            let of_target = |target| (self.place_of(panel, target), target.expr.as_str());
            panel.targets.iter().map(of_target)
        });
        let notes = self.annotations.list.iter();
        of_panels
            .chain(notes.map(|note| (format!("{}: {}", self.name, note.name), note.expr.as_str())))
    }

    /// How messages and lists name a query.
    pub(super) fn place_of(&self, panel: &Panel, target: &Target) -> String {
        format!("{}: {} {}", self.name, panel.title, target.ref_id)
    }
}

impl Variable {
    pub(super) fn is_query(&self) -> bool {
        self.kind == "query"
    }

    /// The selector and the label of `label_values(SELECTOR, LABEL)`.
    pub(super) fn label_values(&self) -> Option<(&str, &str)> {
        let inner = self
            .query
            .strip_prefix("label_values(")?
            .strip_suffix(')')?;
        inner.rsplit_once(", ")
    }
}

impl Panel {
    /// The labels that a table shows as columns, for the columns of queries have the names of these.
    pub(super) fn columns(&self) -> Vec<&str> {
        let organized = self
            .transformations
            .iter()
            .find(|step| step["id"] == "organize");
        let renamed = organized.and_then(|step| step["options"]["renameByName"].as_object());
        let names = renamed.into_iter().flat_map(|renamed| renamed.keys());
        names
            .map(String::as_str)
            .filter(|name| !name.starts_with("Value"))
            .collect()
    }
}

static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(?:\{(\w+)(?::\w+)?\}|([a-z_]\w*))").unwrap());

/// A text in which each `$name`, `${name}` and `${name:format}` of `values` is replaced, as Grafana does it.
pub(super) fn substituted(text: &str, values: &BTreeMap<String, String>) -> String {
    let replaced = VARIABLE.replace_all(text, |found: &Captures<'_>| {
        let name = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
        let value = values.get(name);
        value.unwrap_or_else(|| panic!("no variable {name} for {text}"))
    });
    replaced.into_owned()
}
