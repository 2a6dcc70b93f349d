//! A file that changes: what stays in force.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::super::reload::{ConfigFile, Reloaded};

/// A file on disk and what is in force of it.
struct Watched {
    path: PathBuf,
    file: ConfigFile,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        Self {
            file: ConfigFile::new(&path),
            path,
            _folder: folder,
        }
    }

    /// What is there after a second look, which a text that removes documents needs.
    fn poll_twice(&mut self) -> Option<Reloaded> {
        self.file
            .poll()
            .unwrap()
            .or_else(|| self.file.poll().unwrap())
    }

    /// What a new content brings: windows by name, names kept, problems.
    fn write(&mut self, text: &str) -> (Vec<String>, Vec<String>, usize) {
        std::fs::write(&self.path, text).unwrap();
        let Reloaded {
            services,
            problems,
            kept,
        } = self.poll_twice().expect("the file changed");
        let in_force = services
            .iter()
            .map(|service| format!("{} {}", service.spec.id.name, service.spec.window.as_secs()))
            .collect();
        let kept = kept.iter().map(|id| id.name.to_string()).collect();
        (in_force, kept, problems.len())
    }
}

fn document(name: &str, window: &str) -> String {
    format!(
        "---\napiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {{name: {name}}}\nspec: {{window: {window}, source: {{pods: {{targets: ['a:1']}}}}}}\n"
    )
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[test]
fn what_did_not_change_brings_nothing() {
    let mut watched = Watched::new();
    let text = document("a", "30s");
    watched.write(&text);
    assert_eq!(watched.file.poll().unwrap(), None);
    std::fs::write(&watched.path, &text).unwrap();
    assert_eq!(watched.file.poll().unwrap(), None);
}

#[test]
fn a_file_that_is_half_written_removes_nothing() {
    let mut watched = Watched::new();
    let whole = document("a", "30s") + &document("b", "30s");
    watched.write(&whole);
    for half in ["", &document("a", "30s")] {
        std::fs::write(&watched.path, half).unwrap();
        assert_eq!(watched.file.poll().unwrap(), None);
        std::fs::write(&watched.path, &whole).unwrap();
        assert_eq!(watched.file.poll().unwrap(), None);
    }
    let (in_force, ..) = watched.write(&document("a", "30s"));
    assert_eq!(in_force, ["a 30"]);
}

#[test]
fn a_document_that_turned_wrong_keeps_its_previous_version() {
    let mut watched = Watched::new();
    watched.write(&(document("a", "30s") + &document("b", "30s")));
    for wrong in [
        document("a", "30"),
        document("a", "30s").replace("window", "windw"),
        document("a", "30s").replace("kind: RequestMetrics", "kind: Request"),
    ] {
        let (in_force, kept, problems) = watched.write(&(wrong + &document("b", "60s")));
        assert_eq!(in_force, ["a 30", "b 60"]);
        assert_eq!(kept, ["a"]);
        assert_eq!(problems, 1);
    }
    // It stays for as long as it is wrong, and goes when it is right.
    assert_eq!(
        watched.write(&(document("a", "31") + &document("b", "60s"))),
        (owned(["a 30", "b 60"]), owned(["a"]), 1)
    );
    assert_eq!(
        watched.write(&(document("a", "40s") + &document("b", "60s"))),
        (owned(["a 40", "b 60"]), owned([]), 0)
    );
}

#[test]
fn a_document_that_is_gone_is_gone() {
    let mut watched = Watched::new();
    watched.write(&(document("a", "30s") + &document("b", "30s") + &document("c", "30s")));
    assert_eq!(
        watched.write(&(document("b", "30") + &document("c", "30s"))),
        (owned(["b 30", "c 30"]), owned(["b"]), 1)
    );
    assert_eq!(watched.write(""), (owned([]), owned([]), 0));
    assert_eq!(
        watched.write(&document("b", "30")),
        (owned([]), owned([]), 1)
    );
}

#[test]
fn a_document_without_a_name_may_be_any_that_is_missing() {
    let mut watched = Watched::new();
    watched.write(&(document("a", "30s") + &document("b", "30s") + &document("c", "30s")));
    for nameless in [
        "---\n{\n".to_owned(),
        document("A", "30s"),
        document("", "30s"),
    ] {
        assert_eq!(
            watched.write(&(nameless + &document("c", "60s"))),
            (owned(["a 30", "b 30", "c 60"]), owned(["a", "b"]), 1)
        );
    }
}

#[test]
fn a_second_document_of_a_name_does_not_bring_back_the_previous_first() {
    let mut watched = Watched::new();
    watched.write(&document("a", "30s"));
    assert_eq!(
        watched.write(&(document("a", "60s") + &document("a", "30s"))),
        (owned(["a 60"]), owned([]), 1)
    );
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let mut watched = Watched::new();
    let error = watched.file.poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    watched.write(&document("a", "30s"));
    let too_large = vec![b'#'; 16 * 1024 * 1024 + 1];
    let mut not_utf8 = document("a", "30s").into_bytes();
    not_utf8.push(0xff);
    for (content, kind, message) in [
        (
            too_large.as_slice(),
            ErrorKind::FileTooLarge,
            "the file has more than 16777216 bytes",
        ),
        (
            not_utf8.as_slice(),
            ErrorKind::InvalidData,
            "line 6 is not UTF-8",
        ),
    ] {
        std::fs::write(&watched.path, content).unwrap();
        let error = watched.file.poll().unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    }
    // What was in force still is, for a document that is wrong now.
    assert_eq!(
        watched.write(&document("a", "30")),
        (owned(["a 30"]), owned(["a"]), 1)
    );
}
