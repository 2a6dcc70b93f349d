//! The house holds: who may name whom, who may read a clock, and what the README and the map promise.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which rooms each room may name. `pure` rooms may also not await, lock, log, or touch files, sockets and clocks.
/// A new arrow is a decision: it belongs here, and in the commit that needs it.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("exposition", &["model"]),
    ("engine", &["model"]),
    ("hpa", &["model"]),
    ("story", &["hpa", "model"]),
    ("shadow", &["hpa", "model", "story"]),
    ("sim", &["engine", "hpa", "model"]),
    ("source", &["clock", "exposition", "model"]),
    ("api", &["clock", "engine", "model", "story"]),
    (
        "config",
        &["engine", "exposition", "hpa", "model", "source"],
    ),
    (
        "cluster",
        &[
            "api", "clock", "config", "engine", "hpa", "metrics", "model", "shadow", "source",
            "story",
        ],
    ),
    ("metrics", &["clock", "engine", "model"]),
    (
        "pipeline",
        &["clock", "config", "engine", "metrics", "model", "source"],
    ),
    ("clock", &["model"]),
    (
        "cli",
        &[
            "check", "cluster", "demo", "explain", "lint", "replay", "serve", "simulate", "tune",
        ],
    ),
    (
        "serve",
        &[
            "api", "clock", "cluster", "config", "engine", "metrics", "model", "pipeline",
            "shadow", "source", "story",
        ],
    ),
    ("replay", &["config", "hpa", "model"]),
    (
        "lint",
        &[
            "cluster",
            "config",
            "engine",
            "exposition",
            "hpa",
            "model",
            "source",
        ],
    ),
    ("check", &["api", "cluster", "engine", "story"]),
    (
        "explain",
        &[
            "clock", "cluster", "config", "hpa", "model", "shadow", "story",
        ],
    ),
    ("simulate", &["clock", "config", "model", "sim", "source"]),
    (
        "tune",
        &["clock", "config", "hpa", "model", "sim", "simulate"],
    ),
    (
        "demo",
        &[
            "api",
            "clock",
            "config",
            "engine",
            "exposition",
            "hpa",
            "metrics",
            "model",
            "pipeline",
            "serve",
            "source",
        ],
    ),
];

const PURE: &[&str] = &[
    "model",
    "exposition",
    "engine",
    "hpa",
    "shadow",
    "story",
    "sim",
];

/// What no pure room says outside its tests.
const IMPURE_WORDS: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "Mutex",
    "RwLock",
    "tracing::",
    "println!",
    "eprintln!",
    "rand::",
    "Instant",
    "SystemTime",
    "crate::clock",
];

/// Which foreign crates are fenced, and the only places that may name them.
const FENCED: &[(&str, &[&str])] = &[
    (
        "prometheus_parse",
        &[
            "src/exposition/oracle.rs",
            "loadtest/src/page.rs",
            "loadtest/benches/",
        ],
    ),
    (
        "axum",
        &[
            "src/api.rs",
            "src/api/",
            "src/serve/",
            "loadtest/benches/api.rs",
        ],
    ),
    ("prometheus_client", &["src/metrics.rs", "src/metrics/"]),
    ("ratatui", &["src/demo.rs", "src/demo/"]),
    (
        "redis",
        &["src/source/redis.rs", "src/source/redis/", "loadtest/src/"],
    ),
    (
        "kube",
        &[
            "src/cluster.rs",
            "src/cluster/",
            "src/api/auth.rs",
            "src/api/auth/",
            "loadtest/src/cluster/",
            "loadtest/src/discovery.rs",
            "loadtest/src/discovery/",
            "loadtest/src/observe.rs",
            "loadtest/src/observe/",
            "loadtest/src/cli/",
        ],
    ),
    (
        "k8s_openapi",
        &[
            "src/cluster.rs",
            "src/cluster/",
            "src/api/auth.rs",
            "src/api/auth/",
            "loadtest/src/cluster/",
            "loadtest/src/discovery.rs",
            "loadtest/src/discovery/",
            "loadtest/src/observe.rs",
            "loadtest/src/observe/",
            "loadtest/src/cli/lint.rs",
        ],
    ),
    (
        "serde_saphyr",
        &[
            "src/config.rs",
            "src/config/",
            "src/cluster/crd.rs",
            "loadtest/src/report/html/page.rs",
            "loadtest/src/scenario/file/",
        ],
    ),
    (
        "clap_complete",
        &["src/cli.rs", "loadtest/src/cli/flags.rs"],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder, as (path from the root, text without its unit tests).
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "rs")
            {
                let path = entry
                    .path()
                    .strip_prefix(root())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                files.push((path, std::fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// The code before the unit tests, without comments.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("/oracle.rs")
}

fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The rooms that a file names: `crate::room::..` and `use crate::{room::.., room}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = group.split('}').next().unwrap();
                named.extend(
                    group
                        .split(',')
                        .map(|path| path.trim().split("::").next().unwrap().to_owned()),
                );
            }
            None => {
                named.insert(
                    rest.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect(),
                );
            }
        }
    }
    named.retain(|name| MAY_NAME.iter().any(|(room, _)| room == name));
    named
}

#[test]
fn no_room_names_a_room_it_may_not() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let room = room_of(&path);
        if room == "lib" || room == "main" || is_test_file(&path) {
            continue;
        }
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{path}: {room} is not in the table"));
            continue;
        };
        for named in rooms_named(&code(&text)) {
            if named != room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{path}: {room} may not name {named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_touch_nothing() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src")
        .into_iter()
        .filter(|(path, _)| PURE.contains(&room_of(path)) && !is_test_file(path))
    {
        for word in IMPURE_WORDS
            .iter()
            .filter(|word| code(&text).contains(**word))
        {
            wrong.push(format!("{path} says {word}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fenced_crates_are_named_in_their_places_only() {
    let mut wrong = Vec::new();
    for folder in ["src", "loadtest"] {
        for (path, text) in sources(folder) {
            for (name, places) in FENCED {
                let code = code(&text);
                // A module of the crate's name is what its parent means by the name.
                let is_parent = code.contains(&format!("mod {name};"));
                let names_it = !is_parent
                    && code.lines().any(|line| {
                        let line = line.trim_start();
                        line.starts_with(&format!("use {name}::"))
                            || line.contains(&format!(" {name}::"))
                            || line.contains(&format!("({name}::"))
                    });
                if names_it && !places.iter().any(|place| path.starts_with(place)) {
                    wrong.push(format!("{path} names {name}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_load_generator_knows_nothing_of_the_adapter() {
    for (path, text) in sources("loadtest/src") {
        assert!(
            !text.contains("taffrail::"),
            "{path} names the adapter's crate"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    for folder in ["src", "loadtest/src", "tests"] {
        for (path, text) in sources(folder) {
            assert!(
                text.starts_with("//!"),
                "{path} does not begin with what it is"
            );
        }
    }
}

#[test]
fn the_map_names_every_room_and_only_rooms() {
    let map = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (room, _) in MAY_NAME {
        assert!(
            map.contains(&format!("| [`{room}`] |")),
            "the map in src/lib.rs lacks {room}"
        );
        assert!(
            map.contains(&format!("pub mod {room};")),
            "src/lib.rs does not declare {room}"
        );
    }
    assert_eq!(map.matches("pub mod ").count(), MAY_NAME.len());
}

#[test]
fn the_readme_shows_the_two_commands_and_they_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("cargo run --release -- demo"));
    assert!(readme.contains("tests/run"));
    assert!(Path::new(&root().join("tests/run")).exists());
}
