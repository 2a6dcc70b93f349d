//! The commands of the pages: those that need no cluster are run, and the flags of all our own are known.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use super::page::{self, Page};
use crate::fixtures::tools::{self, ROOT, said};

/// What a page's commands find where they are run: a copy of what a clone of the repository has.
const CLONED: &[&str] = &[
    "deploy",
    "dashboards",
    "loadtest/scenarios",
    "tests/data/hpa-recordings",
];

/// What comes before a page's commands. That a load run's figures are those of a shared machine is no mistake of the page:
/// its verdict may be any, but it has to be one.
const BEFORE: &str = "set -euo pipefail
ip link set lo up
taffrail-loadtest() {
  local code=0
  command taffrail-loadtest \"$@\" || code=$?
  case $1.$code in run.99 | run.112 | run.113) ;; *) return $code ;; esac
}
";

/// The programs of ours that a page may show.
pub(super) const OURS: [&str; 3] = ["taffrail", "taffrail-loadtest", "taffrail-sample-app"];

#[test]
fn every_command_that_needs_no_cluster_runs() {
    let pages = page::documented();
    let failed: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = pages
            .iter()
            .filter(|page| !script(page).is_empty())
            .map(|page| scope.spawn(|| run(page)))
            .collect();
        assert!(3 <= running.len(), "only {} pages have any", running.len());
        let results = running.into_iter().map(|page| page.join().unwrap());
        results.filter_map(Result::err).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// The commands of a page that are run here, as one script.
fn script(page: &Page) -> String {
    let blocks = page.blocks();
    let here = blocks.iter().filter(|block| block.is("sh", &[]));
    here.map(|block| &*block.text).collect()
}

/// Runs a page from its first command to its last, in a folder of its own.
fn run(page: &Page) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    clone(folder.path());
    for block in page.blocks() {
        if let Some(file) = block.file() {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, &block.text).unwrap();
        }
    }
    let output = shell(&script(page), folder.path());
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", page.path, said(&output))),
    }
}

fn clone(folder: &Path) {
    let there = CLONED
        .iter()
        .filter(|path| Path::new(ROOT).join(path).exists());
    let output = Command::new("cp")
        .args(["--archive", "--parents"])
        .args(there)
        .arg(folder)
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Runs a script as a user would, line by line until one fails, in a network and among processes of its own: so its ports
/// are free, nothing is reached, and what it leaves running ends with it.
fn shell(script: &str, folder: &Path) -> Output {
    let tools = tools::program("kubectl");
    let whole = format!(
        "{BEFORE}export PATH={}:{}:$PATH HOME={} KUBECONFIG=\nset -x\n{script}",
        programs().display(),
        tools.parent().unwrap().display(),
        folder.display()
    );
    Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--pid"])
        .args(["--fork", "--kill-child", "bash", "-c", &whole])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// Where cargo put our programs. Those of the load generator are another package's, which `tests/run` builds before.
pub(super) fn programs() -> &'static Path {
    let folder = Path::new(env!("CARGO_BIN_EXE_taffrail")).parent().unwrap();
    for name in OURS {
        assert!(
            folder.join(name).exists(),
            "{name} is not in {}: run cargo build --workspace --bins first, as tests/run does",
            folder.display()
        );
    }
    folder
}

#[test]
fn every_flag_of_our_commands_exists() {
    let mut helps = Helps::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in page::all() {
        let blocks = page.blocks();
        let lines = blocks
            .iter()
            .flat_map(|block| block.commands().into_iter().map(|line| (block.line, line)));
        let spans = page.code_spans().into_iter();
        for (line, command) in lines.chain(spans) {
            for ours in ours(&command) {
                seen += 1;
                let why = helps.check(&ours);
                wrong.extend(why.map(|why| format!("{}:{line}: {command}: {why}", page.path)));
            }
        }
    }
    assert!(30 < seen, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of each call of one of our programs in a line of a shell.
fn ours(line: &str) -> Vec<Vec<String>> {
    let calls = line.split(['|', ';', '&']).map(words);
    calls
        .filter(|words| {
            words
                .first()
                .is_some_and(|first| OURS.contains(&first.as_str()))
        })
        .collect()
}

/// Words as a shell splits them, without what is quoted of several words.
fn words(call: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut quote = None;
    let mut word = String::new();
    for c in call.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.push('…');
            }
            None if c.is_whitespace() => words.extend(Some(std::mem::take(&mut word))),
            None => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// What each command says of itself, asked once.
#[derive(Default)]
pub(super) struct Helps(BTreeMap<Vec<String>, Option<String>>);

impl Helps {
    /// What is wrong with a call of one of our programs.
    fn check(&mut self, words: &[String]) -> Option<String> {
        let mut command = vec![words[0].clone()];
        // The sample app has no subcommands, and a program alone is only named.
        let subcommand = words.get(1).filter(|word| !word.starts_with('-'));
        if words[0] != "taffrail-sample-app"
            && let Some(subcommand) = subcommand
        {
            // A word such as COMMAND stands for any.
            if subcommand.chars().all(char::is_uppercase) {
                return None;
            }
            command.push(subcommand.clone());
        }
        let Some(help) = self.of(&command) else {
            return Some("there is no such command".to_owned());
        };
        let flags = words.iter().filter(|word| word.starts_with('-'));
        let mut unknown = flags
            .map(|flag| flag.split('=').next().unwrap_or_default())
            .filter(|flag| !matches!(*flag, "-" | "--" | "--help"))
            .filter(|flag| !has_flag(&help, flag));
        unknown.next().map(|flag| format!("no flag {flag}"))
    }

    /// The help of a command, or nothing where there is no such command.
    pub(super) fn of(&mut self, command: &[String]) -> Option<String> {
        let asked = self.0.entry(command.to_vec()).or_insert_with(|| {
            let output = Command::new(programs().join(&command[0]))
                .args(&command[1..])
                .arg("--help")
                .output()
                .unwrap();
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(help)
        });
        asked.clone()
    }
}

/// Whether a help has a line of this flag.
pub(super) fn has_flag(help: &str, flag: &str) -> bool {
    let mut words = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| line.split([' ', ',', '=', '[', '<']));
    words.any(|word| word == flag)
}
