//! Files, directories and standard input to texts. One that cannot be read costs itself.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::objects::{Read, Unread};

/// The largest file read: ten thousand objects of 1.6 KB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The most files of one run: a directory may be somebody's home.
const FILES_MAX: usize = 10_000;

/// Directories within each other.
const DEPTH_MAX: usize = 32;

/// What files of objects are called.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads everything that is named, directories with all that is in them.
pub(crate) fn read_all(paths: &[PathBuf], read: &mut Read) {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new("-") || !path.is_dir() {
            files.push(path.clone());
        } else if let Err(error) = walk(path, 0, &mut files, &mut read.unread) {
            read.unread.push(Unread::of_file(path, error.to_string()));
        }
    }
    if FILES_MAX < files.len() {
        let message = format!("more than {FILES_MAX} files; name a smaller directory");
        read.unread
            .push(Unread::of_file(&files[FILES_MAX], message));
        files.truncate(FILES_MAX);
    }
    for file in files {
        match text(&file) {
            Ok(text) => read.add_text(&file.display().to_string(), text),
            Err(error) => read.unread.push(Unread::of_file(&file, error.to_string())),
        }
    }
}

/// The files of a directory, by name. Hidden ones and links to directories are passed over, and the templates of a Helm
/// chart, which are no YAML, with a word on how to have them read.
fn walk(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    unread: &mut Vec<Unread>,
) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let is_chart = entries
        .iter()
        .any(|entry| entry.file_name() == "Chart.yaml");
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if is_chart && entry.file_name() == "templates" {
            let chart = folder.display();
            unread.push(Unread {
                is_optional: true,
                ..Unread::of_file(
                    &path,
                    format!(
                        "templates are rendered first: helm template {chart} | taffrail lint -"
                    ),
                )
            });
            continue;
        }
        if entry.file_type()?.is_dir() {
            // That there are too many files is said of all of them.
            if FILES_MAX < files.len() {
                return Ok(());
            }
            if DEPTH_MAX <= depth {
                let message =
                    format!("more than {DEPTH_MAX} directories deep; name it to have it read");
                unread.push(Unread::of_file(&path, message));
            } else {
                walk(&path, depth + 1, files, unread)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn text(file: &Path) -> io::Result<String> {
    String::from_utf8(bytes(file)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8"))
}

/// The bytes of a file, or of standard input. Limited while they are read, since a path may be that of something
/// without an end.
pub(crate) fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin()
            .lock()
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
    } else {
        File::open(file)?
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
    }
    if FILE_BYTES_MAX < bytes.len() as u64 {
        let message = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_a_chart_are_passed_over_with_a_word_and_other_templates_are_not() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "chart/templates/a.yaml",
            "chart/Chart.yaml",
            "chart/values.yaml",
            "templates/b.yaml",
        ] {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        walk(root.path(), 0, &mut files, &mut unread).unwrap();
        assert_eq!(unread.len(), 1, "{unread:?}");
        assert!(unread[0].is_optional && unread[0].message.contains("/chart | taffrail lint -"));
        let names: Vec<_> = files
            .iter()
            .map(|file| file.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["chart/Chart.yaml", "chart/values.yaml", "templates/b.yaml"]
        );
    }

    #[test]
    fn a_directory_too_deep_is_said() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = root.path().to_owned();
        for depth in 0..=DEPTH_MAX {
            folder.push(depth.to_string());
        }
        fs::create_dir_all(&folder).unwrap();
        let mut read = Read::default();
        read_all(&[root.path().to_owned()], &mut read);
        assert_eq!(read.unread.len(), 1, "{:?}", read.unread);
        assert_eq!(read.unread[0].source, folder.display().to_string());
    }
}
