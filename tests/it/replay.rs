//! Recordings of real HPAs against the model.

use std::path::PathBuf;

use taffrail::replay::{Args, run};

#[test]
fn real_decisions_are_the_models() {
    let mut out = Vec::new();
    let args = Args {
        paths: vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/hpa-recordings")],
        min_agreement: 99.9,
        json: false,
        verbose: false,
    };
    run(&args, &mut out).unwrap();
    println!("{}", String::from_utf8(out).unwrap());
}
