//! An HPA that misbehaves on purpose fails its scenario, by the check that it breaks and no other, and the same HPA as it
//! should be passes: with ten seeds in virtual time, and on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::scenarios::{FAILED, RUNS_MAX, play, said};

/// Seeds in virtual time, each of which must tell the same.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;

/// A step up, with a pause that a well-behaved HPA sleeps through.
const SHOP: &str = "
name: shop
app: { workers: 2, serviceTime: 100ms, serviceCv: 0.3, cpuShare: 0.01, startup: 4s, drain: 5s }
hpa:
  spec:
    minReplicas: 2
    maxReplicas: 8
    metrics:
      - type: External
        external:
          metric: { name: request_rate, selector: { matchLabels: { service: shop } } }
          target: { type: AverageValue, averageValue: 12 }
    behavior: { scaleDown: { stabilizationWindowSeconds: 60 } }
metrics:
  source: { pods: { selector: { matchLabels: { app: shop } } } }
  window: 15s
  interval: 3s
  objective: { quantile: 0.95, latency: 1s }
scenarios:
  main:
    startRate: 15
    stages:
      - { name: low, target: 15, duration: 30s }
      - { name: step, target: 30, duration: 0s }
      - { name: high, target: 30, duration: 60s }
      - { name: dip, target: 12, duration: 0s }
      - { name: pause, target: 12, duration: 30s }
      - { name: back, target: 30, duration: 0s }
      - { name: again, target: 30, duration: 40s }
slo: { quantile: 95, target: 1s, window: 10s }
assertions:
  - no_reaction: { scope: stage(low) }
  - time_to_first_scale_out: { from: stage(high).start, max: 60s }
  - peak_replicas: { between: [3, 4] }
  - latency: { max: 1s }
  - flap_count: { max: 0 }
  - hpa_conditions: { settle: 20s }
  - error_rate: { max: 0.01 }
";

/// What is changed of [`SHOP`], and the checks that break.
struct Case {
    from: &'static str,
    to: &'static str,
    breaks: &'static [&'static str],
}

const WELL_BEHAVED: Case = Case {
    from: "",
    to: "",
    breaks: &[],
};

const MAX_TOO_LOW: Case = Case {
    from: "maxReplicas: 8",
    to: "maxReplicas: 2",
    breaks: &["time_to_first_scale_out[high]", "peak_replicas"],
};

const FLAPPING: Case = Case {
    from: "stabilizationWindowSeconds: 60",
    to: "stabilizationWindowSeconds: 0",
    breaks: &["flap_count"],
};

/// The adapter goes away in the middle, and does not come back.
const METRIC_DELETED: Case = Case {
    from: "assertions:",
    to: "events: [{ at: 80s, stopMetrics: true }]\nassertions:",
    breaks: &["hpa_conditions"],
};

impl Case {
    fn file(&self, folder: &TempDir) -> PathBuf {
        let file = folder.path().join("shop.yaml");
        let text = SHOP.replacen(self.from, self.to, 1);
        assert_eq!(text != SHOP, !self.from.is_empty(), "nothing was changed");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn code(&self) -> i32 {
        if self.breaks.is_empty() { 0 } else { FAILED }
    }

    /// Ten times of ten.
    fn in_virtual_time(&self) {
        let folder = TempDir::new().unwrap();
        let (file, json) = (self.file(&folder), folder.path().join("run.json"));
        for seed in SEEDS {
            let output = Command::new(env!("CARGO_BIN_EXE_taffrail"))
                .arg("simulate")
                .arg(&file)
                .args(["--seed", &seed.to_string(), "--json"])
                .arg(&json)
                .output()
                .unwrap();
            assert_eq!(
                output.status.code(),
                Some(self.code()),
                "seed {seed}: {}",
                said(&output)
            );
            assert_eq!(broken(&json), self.breaks, "seed {seed}");
        }
    }

    /// A machine that stands still can make a run say that it cannot tell; never that the contrary is so.
    fn on_this_machine(&self) {
        let folder = TempDir::new().unwrap();
        let file = self.file(&folder);
        for _ in 0..RUNS_MAX {
            let output = play(&file);
            let code = output.status.code();
            if code == Some(self.code()) {
                return;
            }
            assert_ne!(code, Some(0), "{}", said(&output));
            eprintln!("ended with {code:?}: {}", said(&output));
        }
        panic!("in none of {RUNS_MAX} runs; see above");
    }
}

/// The checks that failed, in their order.
fn broken(json: &Path) -> Vec<String> {
    let run: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let findings = run["verdict"]["findings"].as_array().unwrap().iter();
    let failed = findings.filter(|finding| finding["outcome"] == "fail");
    failed
        .map(|finding| finding["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_well_behaved_hpa_passes() {
    WELL_BEHAVED.in_virtual_time();
    WELL_BEHAVED.on_this_machine();
}

#[test]
fn a_maximum_that_is_too_low_fails() {
    MAX_TOO_LOW.in_virtual_time();
}

#[test]
fn policies_that_flap_fail() {
    FLAPPING.in_virtual_time();
    FLAPPING.on_this_machine();
}

#[test]
fn a_metric_that_is_deleted_fails() {
    METRIC_DELETED.in_virtual_time();
    METRIC_DELETED.on_this_machine();
}
