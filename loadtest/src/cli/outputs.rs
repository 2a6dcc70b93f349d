//! Where the results of a run go. It writes files and draws nothing itself.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::judge::verdict::Verdict;
use crate::recording::Recording;
use crate::scenario::Outputs;

/// The word for standard output in the place of a file.
pub(super) const STDOUT: &str = "-";

/// Writes what the scenario and the flags ask for. A second attempt has its number in the names of its files, so that no
/// retry hides the run before it.
pub(super) fn write(
    outputs: &Outputs,
    recording: &Recording,
    _verdict: &Verdict,
) -> anyhow::Result<()> {
    let attempt = recording.about.attempt;
    if let Some(file) = &outputs.json {
        let text = serde_json::to_vec(recording).context("writing the recording as JSON")?;
        put(file, attempt, &text)?;
    }
    Ok(())
}

fn put(file: &str, attempt: u32, text: &[u8]) -> anyhow::Result<()> {
    if file == STDOUT {
        let mut out = std::io::stdout().lock();
        return out
            .write_all(text)
            .and_then(|()| out.write_all(b"\n"))
            .context("writing to standard output");
    }
    let path = numbered(Path::new(file), attempt);
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("creating the directory {}", parent.display()))?;
    }
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// `run.json`, and from the second attempt on `run-2.json`.
fn numbered(path: &Path, attempt: u32) -> PathBuf {
    if attempt <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{attempt}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{attempt}"),
    };
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_its_own_file() {
        for (file, attempt, expected) in [
            ("out/run.json", 1, "out/run.json"),
            ("out/run.json", 2, "out/run-2.json"),
            ("run.d/run", 3, "run.d/run-3"),
        ] {
            assert_eq!(numbered(Path::new(file), attempt), Path::new(expected));
        }
    }
}
