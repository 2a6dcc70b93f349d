//! Images as buildah builds them from the Dockerfile itself, with the compiling stage replaced by a directory, and unpacked.
//! Nothing is pulled, nothing of this machine's own storage is touched, and no root is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use super::{NAMES, programs};
use crate::fixtures::tools::{self, ROOT};

/// A built image, unpacked.
pub(super) struct Image {
    name: &'static str,
    /// The directory that is its root.
    pub(super) root: PathBuf,
    /// Its files, not its directories, sorted, as it was built.
    pub(super) files: Vec<String>,
    /// How a container of it is run: User, Entrypoint, Labels and so on.
    pub(super) config: Value,
}

impl Image {
    /// The image of the final stage `name`; all are built when the first is asked for.
    pub(super) fn of(name: &str) -> &'static Self {
        // The directory stays as long as the process; the tests' programs run from it.
        static BUILT: OnceLock<(TempDir, Vec<Image>)> = OnceLock::new();
        let (_, images) = BUILT.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let images = build(dir.path());
            (dir, images)
        });
        images.iter().find(|image| image.name == name).unwrap()
    }
}

fn build(dir: &Path) -> Vec<Image> {
    let stage = dir.join("build");
    let authorities = stage.join("etc/ssl/certs");
    std::fs::create_dir_all(&authorities).unwrap();
    std::fs::write(
        authorities.join("ca-certificates.crt"),
        "# those of the base\n",
    )
    .unwrap();
    programs::link(&stage.join("out"));
    NAMES.map(|name| unpacked(dir, &stage, name)).into()
}

fn unpacked(dir: &Path, stage: &Path, name: &'static str) -> Image {
    let dockerfile = Path::new(ROOT).join("deploy/image/Dockerfile");
    // Chroot and vfs: neither needs a privilege that a container of a CI lacks.
    let args = [
        "--isolation",
        "chroot",
        "--pull-never",
        "--target",
        name,
        "--tag",
        name,
    ];
    let context = format!("build={}", stage.display());
    let mut command = buildah(dir);
    command.arg("build").args(args).args([
        "--build-arg",
        "TARGETARCH=any",
        "--build-context",
        &context,
    ]);
    done(command.arg("--file").arg(dockerfile).arg(ROOT));
    let pushed = dir.join(name);
    done(
        buildah(dir)
            .args(["push", "--quiet", name])
            .arg(format!("dir:{}", pushed.display())),
    );

    let json = |file: &str| -> Value {
        serde_json::from_slice(&std::fs::read(pushed.join(file)).unwrap()).unwrap()
    };
    let blob = |descriptor: &Value| {
        descriptor["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:")
            .to_owned()
    };
    let manifest = json("manifest.json");
    let config = json(&blob(&manifest["config"]))["config"].take();
    let root = pushed.join("root");
    std::fs::create_dir(&root).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        done(
            Command::new("tar")
                .arg("--extract")
                .arg("--file")
                .arg(pushed.join(blob(layer)))
                .arg("--directory")
                .arg(&root),
        );
    }
    let mut files = Vec::new();
    list(&root, &root, &mut files);
    files.sort();
    Image {
        name,
        root,
        files,
        config,
    }
}

/// Every file below `directory`, as a path below `root`.
fn list(root: &Path, directory: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            files.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

fn buildah(dir: &Path) -> Command {
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(dir.join("storage"))
        .arg("--runroot")
        .arg(dir.join("run"))
        .args(["--storage-driver", "vfs"]);
    command
}

fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        tools::said(&output)
    );
}
