//! The Helm chart, rendered by Helm as users render it. Each file of `deploy/chart/ci` is a case of the matrix: it is
//! rendered once for the oldest Kubernetes that the chart takes and once for a new one, and every test reads those
//! renders. What needs stored objects, such as whose an APIService is, is among the cluster's tests.

mod certificates;
mod matrix;
mod mistakes;
mod package;
mod rights;
mod traps;
mod values;

use std::path::Path;
use std::process::Output;
use std::sync::OnceLock;

use serde_json::Value;

use crate::fixtures::{objects, tools};

const CHART: &str = "deploy/chart";

/// The oldest version that the chart takes, and one that is years newer.
const VERSIONS: [&str; 2] = ["1.27.0", "1.34.0"];

/// One file of values, rendered.
struct Case {
    /// `ha` of `ci/ha-values.yaml`.
    name: String,
    /// What Helm printed for each of [`VERSIONS`].
    texts: [String; 2],
    objects: Vec<Value>,
}

/// Every case, in the order of their names.
fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let files = std::fs::read_dir(Path::new(tools::ROOT).join(CHART).join("ci")).unwrap();
        let file = |entry: std::fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = files
            .map(|entry| file(entry.unwrap()))
            .map(|file| file.strip_suffix("-values.yaml").unwrap().to_owned())
            .collect();
        names.sort();
        names.into_iter().map(Case::of).collect()
    })
}

/// The case of this name.
fn case(name: &str) -> &'static Case {
    let found = cases().iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("no case {name}"))
}

impl Case {
    fn of(name: String) -> Self {
        let values = format!("{CHART}/ci/{name}-values.yaml");
        let texts =
            VERSIONS.map(|version| render(&["--values", &values, "--kube-version", version]));
        Self {
            objects: objects::read(&texts[1]),
            name,
            texts,
        }
    }

    /// The object of this kind and name, which is there once.
    fn one(&self, kind: &str, name: &str) -> &Value {
        objects::one(&self.objects, kind, name)
    }

    /// The objects of this kind.
    fn all(&self, kind: &str) -> Vec<&Value> {
        objects::of_kind(&self.objects, kind).collect()
    }

    /// The spec of the adapter's pods.
    fn pod(&self) -> &Value {
        &self.all("Deployment")[0]["spec"]["template"]["spec"]
    }

    /// The adapter's command line.
    fn args(&self) -> Vec<&str> {
        texts(&self.pod()["containers"][0]["args"])
    }

    fn has_arg(&self, arg: &str) -> bool {
        self.args().contains(&arg)
    }
}

/// What Helm prints for the chart with `args`, as the release taffrail in the namespace of that name.
fn render(args: &[&str]) -> String {
    let output = template(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        tools::said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of it.
fn rendered(args: &[&str]) -> Vec<Value> {
    objects::read(&render(args))
}

/// What Helm says when it refuses `args`.
fn refused(args: &[&str]) -> String {
    let output = template(args);
    assert!(!output.status.success(), "{args:?} must be refused");
    String::from_utf8(output.stderr).unwrap()
}

fn template(args: &[&str]) -> Output {
    let mut all = vec!["template", "taffrail", CHART, "--namespace", "taffrail"];
    all.extend(args);
    tools::run("helm", &all)
}

/// The texts of a list; none where there is no list.
fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap()).collect()
}
