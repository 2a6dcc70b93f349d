//! A page of a sample, as far as its commands go. `sh` is run without a cluster, `sh cluster` by `tests/cluster/samples.rs`
//! against a real control plane; `sh elsewhere` needs minutes of load, or a cluster with images.

use std::path::Path;

/// The commands of all blocks of the page at `path`, from the repository's root, that begin with exactly this fence.
pub(crate) fn commands(path: &str, fence: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut commands = String::new();
    let mut is_wanted = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(words) => is_wanted = words == fence,
            None if is_wanted => {
                commands.push_str(line);
                commands.push('\n');
            }
            None => {}
        }
    }
    commands
}
