//! The images: what `deploy/image/Dockerfile` says, and what its final stages are when buildah builds them from programs that
//! cargo made here. The stage that compiles needs a registry, so it alone is only read; `.ci/image` runs it where there is one.

mod built;
mod programs;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use self::built::Image;
use crate::fixtures::free_port;
use crate::fixtures::tools::{self, ROOT};

/// The final stages, which are the names of the images and of their programs.
const NAMES: [&str; 3] = ["taffrail", "taffrail-loadtest", "taffrail-sample-app"];

/// What no image may hold beside its program: the license, and where it talks to the world, the public authorities.
const BESIDE: [&str; 2] = ["LICENSE", "etc/ssl/certs/ca-certificates.crt"];

/// Long enough for a machine that stands still now and then.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stage of the Dockerfile, in its order.
struct Stage {
    name: String,
    base: String,
    /// The instructions after FROM, each in one line.
    instructions: Vec<String>,
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dockerfile() -> Vec<Stage> {
    let text = std::fs::read_to_string(Path::new(ROOT).join("deploy/image/Dockerfile")).unwrap();
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n")
        .replace("\\\n", " ");
    let mut stages: Vec<Stage> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "FROM" {
            assert_eq!(words[2], "AS", "a stage without a name: {line}");
            stages.push(Stage {
                name: words[3].to_owned(),
                base: words[1].to_owned(),
                instructions: Vec::new(),
            });
        } else {
            stages
                .last_mut()
                .unwrap()
                .instructions
                .push(words.join(" "));
        }
    }
    stages
}

impl Stage {
    /// What follows `word` where an instruction begins with it.
    fn all<'a>(&'a self, word: &str) -> impl Iterator<Item = &'a str> {
        self.instructions
            .iter()
            .filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    /// The same where there must be just one.
    fn one(&self, word: &str) -> &str {
        let found: Vec<&str> = self.all(word).collect();
        let [one] = found[..] else {
            panic!("{}: {word} stands there {} times", self.name, found.len());
        };
        one
    }
}

#[test]
fn v_03_one_stage_builds_and_each_final_stage_is_named_and_empty_but_for_its_program() {
    let stages = dockerfile();
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["build", NAMES[0], NAMES[1], NAMES[2]]);
    for stage in &stages[1..] {
        assert_eq!(stage.base, "scratch", "{}", stage.name);
        let words = ["LABEL", "COPY", "USER", "EXPOSE", "ENTRYPOINT"];
        for line in &stage.instructions {
            let word = line.split(' ').next().unwrap();
            assert!(words.contains(&word), "{}: {line}", stage.name);
        }
        for copy in stage.all("COPY") {
            let from = copy.split(' ').next_back().unwrap().trim_start_matches('/');
            assert!(from == stage.name || BESIDE.contains(&from), "{copy}");
        }
        // As a list: there is no shell to start the program, and signals reach it.
        assert_eq!(stage.one("ENTRYPOINT"), format!("[\"/{}\"]", stage.name));
        assert!(
            stage
                .one("LABEL")
                .contains("org.opencontainers.image.licenses=")
        );
    }
}

#[test]
fn p_01_every_image_names_its_user_by_the_number_of_the_manifests() {
    for stage in &dockerfile()[1..] {
        assert_eq!(stage.one("USER"), "65532:65532", "{}", stage.name);
    }
    let mut users = Vec::new();
    for directory in ["deploy/manifests", "deploy/loadtest"] {
        for entry in std::fs::read_dir(Path::new(ROOT).join(directory)).unwrap() {
            // Directories are components, which have no pods.
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            let lines = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("runAsUser: "));
            users.extend(lines.map(str::to_owned));
        }
    }
    assert!(2 <= users.len(), "{users:?}");
    assert!(users.iter().all(|user| user == "65532"), "{users:?}");
}

#[test]
fn the_base_is_pinned_by_digest_and_nothing_secret_gets_into_a_layer() {
    let stages = dockerfile();
    let (tag, digest) = stages[0].base.split_once("@sha256:").unwrap();
    let (_, version) = tag.rsplit_once(':').unwrap();
    assert!(version.contains('.'), "{tag} does not say which version");
    assert!(digest.len() == 64 && digest.chars().all(|digit| digit.is_ascii_hexdigit()));
    for stage in &stages {
        for line in stage.all("ARG").chain(stage.all("ENV")) {
            assert_eq!(line, "TARGETARCH");
        }
    }
}

#[test]
fn the_context_has_what_cargo_reads_by_name_and_no_file_that_lies_around() {
    let ignored = std::fs::read_to_string(Path::new(ROOT).join(".dockerignore")).unwrap();
    let mut lines = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"));
    let paths: Vec<&str> = lines.map(|line| line.strip_prefix('!').unwrap()).collect();
    let context = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--parents"])
        .args(paths)
        .arg(context.path());
    assert!(copy.current_dir(ROOT).status().unwrap().success());
    // What it would compile, without compiling it: only a nightly cargo says that, or one that takes itself for one.
    let plan = Command::new(env!("CARGO"))
        .args([
            "build",
            "-Z",
            "unstable-options",
            "--unit-graph",
            "--workspace",
            "--bins",
        ])
        .args(["--profile", "dist", "--locked"])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(
        plan.status.success(),
        "{}",
        String::from_utf8_lossy(&plan.stderr)
    );
    let plan = String::from_utf8(plan.stdout).unwrap();
    for name in NAMES {
        assert!(plan.contains(&format!("\"name\":\"{name}\"")), "{name}");
    }
}

#[test]
fn v_03_the_build_stage_makes_what_the_final_stages_take() {
    let stages = dockerfile();
    let built: Vec<&str> = stages[0].all("RUN").collect();
    let build = built.last().unwrap();
    for wanted in [
        "cargo auditable build",
        "--locked",
        "--profile dist",
        "install -D -t /out",
    ] {
        assert!(build.contains(wanted), "{wanted}: {build}");
    }
    for name in NAMES {
        assert!(build.contains(&format!("target/dist/{name}")), "{build}");
    }
}

#[test]
fn p_01_a_built_image_runs_as_a_number_and_holds_nothing_that_was_not_meant() {
    for name in NAMES {
        let image = Image::of(name);
        assert_eq!(image.config["User"], "65532:65532", "{name}");
        assert_eq!(image.config["Entrypoint"][0], format!("/{name}"));
        assert!(image.config["Cmd"].is_null(), "{name}: {}", image.config);
        assert_eq!(
            image.config["Labels"]["org.opencontainers.image.title"],
            name
        );
        let mut expected = vec!["LICENSE", name];
        if name != "taffrail-sample-app" {
            expected.push(BESIDE[1]);
        }
        expected.sort_unstable();
        assert_eq!(image.files, expected, "{name}");
    }
}

#[test]
fn e_10_every_program_starts_on_a_root_that_nobody_can_write() {
    let config = tempfile::tempdir().unwrap();
    for name in NAMES {
        let image = Image::of(name);
        let program = format!("/{name}");
        let version = start(image, config.path(), &[&program, "--version"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&version.stdout);
        let expected = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(said.trim(), expected, "{}", tools::said(&version));
        let shell = start(image, config.path(), &["/bin/sh", "-c", "true"])
            .output()
            .unwrap();
        // What chroot answers where there is no such program.
        assert_eq!(shell.status.code(), Some(127), "{}", tools::said(&shell));
    }
}

#[test]
fn e_10_serve_becomes_ready_on_a_root_that_nobody_can_write() {
    let config = tempfile::tempdir().unwrap();
    // A target that refuses: readiness is of the adapter, whatever its targets do.
    let document = "apiVersion: taffrail.dev/v1alpha1\n\
        kind: RequestMetrics\n\
        metadata: {name: users, namespace: shop}\n\
        spec:\n  \
          source: {pods: {targets: [\"127.0.0.1:1\"]}}\n  \
          window: 2s\n  \
          interval: 200ms\n  \
          objective: {quantile: 0.95, latency: 250ms}\n";
    std::fs::write(config.path().join("config.yaml"), document).unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let args = ["/taffrail", "serve", "--config", "/config/config.yaml"];
    let ports = ["--listen", "127.0.0.1:0", "--metrics-listen", &metrics];
    let mut command = start(Image::of("taffrail"), config.path(), &args);
    let mut serve = Running(command.args(ports).stdout(Stdio::null()).spawn().unwrap());
    let began = taffrail::clock::instant();
    while !is_ready(&metrics) {
        assert_eq!(serve.0.try_wait().unwrap(), None, "it has ended");
        assert!(began.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether `/readyz` at `address` answers that all is well.
fn is_ready(address: &str) -> bool {
    let mut answer = String::new();
    TcpStream::connect(address)
        .and_then(|mut stream| {
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        })
        .is_ok_and(|_| answer.contains(" 200 "))
}

/// A command that runs a program in `image` as a container runtime does.
fn start(image: &Image, config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::getuid().is_root() {
        command.args(["--map-root-user", "--map-auto"]);
    }
    command
        .arg(Path::new(ROOT).join("tests/it/image/start"))
        .arg(&image.root)
        .arg(config)
        .arg(image.config["User"].as_str().unwrap())
        .args(args)
        .env_clear();
    command
}
