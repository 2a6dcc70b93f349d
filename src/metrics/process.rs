//! The `process_*` metrics, read from Linux' `/proc` when somebody looks. Elsewhere there are none.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks of `/proc/self/stat`: `USER_HZ`, 100 on every architecture Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The page size of `/proc/self/statm` where we build for: amd64, and arm64 as distributions configure it.
const PAGE_BYTES: f64 = 4096.0;

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// What `/proc` says.
struct Seen {
    cpu_s: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_fds: f64,
    /// Absent where there is no limit.
    max_fds: Option<f64>,
    start_s: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(seen) = look() else { return Ok(()) };
        let help = "CPU time used, user and system";
        let cpu =
            encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
        ConstCounter::new(seen.cpu_s).encode(cpu)?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                Some(seen.resident_bytes),
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory",
                Some(seen.virtual_bytes),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                Some(seen.open_fds),
            ),
            (
                "process_max_fds",
                "File descriptors that may be open",
                seen.max_fds,
            ),
            (
                "process_start_time_seconds",
                "Start of the process, in seconds since the epoch",
                Some(seen.start_s),
            ),
        ] {
            let Some(value) = value else { continue };
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

fn look() -> Option<Seen> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold anything; the rest are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| {
        fields
            .get(field - 3)
            .and_then(|text| text.parse::<f64>().ok())
    };
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot_s: f64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(Seen {
        // Fields 14 and 15 are user and system time, 22 is the start after boot, 23 the size in bytes: proc_pid_stat(5).
        cpu_s: (number(14)? + number(15)?) / TICKS_PER_SECOND,
        resident_bytes: statm.split_whitespace().nth(1)?.parse::<f64>().ok()? * PAGE_BYTES,
        virtual_bytes: number(23)?,
        open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        max_fds: max_fds(),
        start_s: boot_s + number(22)? / TICKS_PER_SECOND,
    })
}

/// The soft limit, the first of the two that `/proc/self/limits` has; `None` for "unlimited".
fn max_fds() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let limit = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    limit.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let seen = look().unwrap();
        assert!(1e6 < seen.resident_bytes && 3.0 <= seen.open_fds && 0.0 <= seen.cpu_s);
        assert!(1.7e9 < seen.start_s);
        assert!(seen.resident_bytes < seen.virtual_bytes);
        assert!(seen.max_fds.is_none_or(|max| seen.open_fds <= max));
    }
}
