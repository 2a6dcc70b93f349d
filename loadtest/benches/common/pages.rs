//! The pages that are read: a request histogram, two single samples, and the counters of other people in between.

use std::fmt;

use rand::Rng;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use taffrail::exposition::Want;

/// The wanted histogram.
pub(crate) const HISTOGRAM: &str = "http_request_duration_seconds";

/// The wanted gauge.
pub(crate) const IN_FLIGHT: &str = "http_requests_in_flight";

/// The wanted counter.
pub(crate) const CPU: &str = "process_cpu_seconds_total";

const BOUNDS: [&str; 9] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "+Inf",
];

/// A page and its name.
pub(crate) struct Page {
    /// Its name in a table.
    pub(crate) name: &'static str,
    /// The page.
    pub(crate) text: String,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Page {
    /// The page of 1,000 lines, of which 222 are wanted.
    pub(crate) fn of_1000_lines() -> Self {
        Self::generate("1,000 lines, 22 % wanted", 1_000, 20)
    }

    /// A page of `lines` lines, of which `series` series of the histogram, two single ones, and the rest nobody wants.
    pub(crate) fn generate(name: &'static str, lines: usize, series: usize) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(7);
        let mut page = vec![
            format!("# HELP {HISTOGRAM} Time from the request to its answer."),
            format!("# TYPE {HISTOGRAM} histogram"),
        ];
        for nth in 0..series {
            let labels = labels(nth);
            let mut count = 0;
            for bound in BOUNDS {
                count += random.random_range(0..100_000);
                page.push(format!(
                    "{HISTOGRAM}_bucket{{{labels},le=\"{bound}\"}} {count}"
                ));
            }
            let sum = f64::from(count) * random.random_range(0.01..0.2);
            page.push(format!("{HISTOGRAM}_sum{{{labels}}} {sum}"));
            page.push(format!("{HISTOGRAM}_count{{{labels}}} {count}"));
        }
        page.push(format!("# TYPE {IN_FLIGHT} gauge\n{IN_FLIGHT} 17"));
        page.push(format!("# TYPE {CPU} counter\n{CPU} 1234.56"));
        // The two entries above are two lines each.
        for nth in page.len() + 2..lines {
            let family = nth / 40;
            if nth % 40 == 0 {
                page.push(format!("# TYPE http_client_calls_{family}_total counter"));
            } else {
                let (labels, value) = (labels(nth), random.random_range(0.0..1e6));
                page.push(format!(
                    "http_client_calls_{family}_total{{{labels}}} {value}"
                ));
            }
        }
        Self {
            name,
            text: page.join("\n") + "\n",
        }
    }
}

/// What the adapter is configured to read of them.
pub(crate) fn want() -> Want {
    Want {
        histogram: Some(HISTOGRAM.to_owned()),
        in_flight: Some(IN_FLIGHT.to_owned()),
        cpu: Some(CPU.to_owned()),
        ..Want::default()
    }
}

fn labels(nth: usize) -> String {
    let method = ["GET", "POST", "PUT", "DELETE"][nth % 4];
    let code = ["200", "201", "404", "500"][nth / 4 % 4];
    format!(
        "method=\"{method}\",code=\"{code}\",route=\"/api/v1/orders/{}\"",
        nth / 16
    )
}
