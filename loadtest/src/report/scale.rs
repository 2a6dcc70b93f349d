//! The axes that all charts share, those of a page and those of a terminal: from a value to its place in 0..=1, with round ticks.

/// Past this many times the objective, a linear axis would press the objective's line into the floor.
const LOG_PAST_OBJECTIVES: f64 = 8.0;

/// An axis: where a value lies, and which values are named on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Logarithmic; then `from` is above zero.
    pub log: bool,
    /// The value at 0.
    pub from: f64,
    /// The value at 1; above `from`.
    pub to: f64,
    /// The named values, rising, all within the axis.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// From zero to the next round value at or above `max`, with about `wanted` steps.
    #[must_use]
    pub fn linear(max: f64, wanted: u32) -> Self {
        let max = if max.is_finite() && 0.0 < max {
            max
        } else {
            1.0
        };
        let step = round_step(max / f64::from(wanted.max(1)));
        // Rounding errors of the division must not add a step.
        let steps = (max / step - 1e-9).ceil().max(1.0) as u32;
        let ticks: Vec<f64> = (0..=steps).map(|i| f64::from(i) * step).collect();
        Self {
            log: false,
            from: 0.0,
            to: f64::from(steps) * step,
            ticks,
        }
    }

    /// As [`Scale::linear`], for things that are counted whole.
    #[must_use]
    pub fn counts(max: u32, wanted: u32) -> Self {
        let scale = Self::linear(f64::from(max.max(1)), wanted);
        let ticks = scale
            .ticks
            .iter()
            .copied()
            .filter(|tick| tick.fract() == 0.0)
            .collect();
        Self { ticks, ..scale }
    }

    /// From the 1, 2 or 5 below `min` to the one above `max`; both must be above zero, else they are taken as 1.
    #[must_use]
    pub fn log(min: f64, max: f64) -> Self {
        let positive = |v: f64| if v.is_finite() && 0.0 < v { v } else { 1.0 };
        let (min, max) = (positive(min.min(max)), positive(max));
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(min.log10().floor());
        // A f64 spans about 620 decades, so this ends.
        'axis: loop {
            for digit in [1.0, 2.0, 5.0] {
                let tick = digit * decade;
                if tick <= min {
                    ticks.clear();
                }
                ticks.push(tick);
                if max <= tick && 2 <= ticks.len() {
                    break 'axis;
                }
            }
            decade *= 10.0;
        }
        let (from, to) = (ticks[0], ticks[ticks.len() - 1]);
        Self {
            log: true,
            from,
            to,
            ticks,
        }
    }

    /// The axis for latencies `min..=max` around an objective: linear from zero while the objective can be seen on
    /// it, else logarithmic.
    #[must_use]
    pub fn latency(min_ms: f64, max_ms: f64, objective_ms: f64, wanted: u32) -> Self {
        if max_ms <= LOG_PAST_OBJECTIVES * objective_ms {
            return Self::linear(max_ms.max(1.2 * objective_ms), wanted);
        }
        Self::log_with(min_ms.min(objective_ms), max_ms, wanted)
    }

    /// As [`Scale::log`], with about `wanted` named values.
    #[must_use]
    pub fn log_with(min: f64, max: f64, wanted: u32) -> Self {
        let mut scale = Self::log(min, max);
        if 2 * wanted < scale.ticks.len() as u32 {
            scale.ticks.retain(|tick| is_power_of_ten(*tick));
        }
        scale
    }

    /// Where `value` lies, in 0..=1; what is outside sits on the edge.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

/// Ticks of a time axis that ends at `end_s`: whole seconds, minutes or hours as people divide them, at most `most`
/// steps.
#[must_use]
pub fn time_ticks(end_s: f64, most: u32) -> Vec<f64> {
    const STEPS_S: [f64; 13] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    ];
    let fits = |step: &f64| end_s / step <= f64::from(most);
    let step = STEPS_S.into_iter().find(fits).unwrap_or_else(|| {
        let hours = (end_s / 3600.0 / f64::from(most.max(1))).ceil();
        3600.0 * hours.max(1.0)
    });
    let steps = (end_s.max(0.0) / step).floor() as u32;
    (0..=steps).map(|i| f64::from(i) * step).collect()
}

/// The pieces of a line without its gaps, each with its points in order.
#[must_use]
pub fn pieces(points: impl Iterator<Item = (f64, Option<f64>)>) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    for (t, value) in points {
        match value {
            Some(value) => piece.push((t, value)),
            None if piece.is_empty() => {}
            None => pieces.push(std::mem::take(&mut piece)),
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| step <= digit * decade * (1.0 + 1e-9));
    digit.unwrap_or(10.0) * decade
}

fn is_power_of_ten(value: f64) -> bool {
    let exponent = value.log10();
    (exponent - exponent.round()).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_linear_axis_ends_on_a_round_value() {
        assert_eq!(Scale::linear(300.0, 3).ticks, [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(Scale::linear(0.0, 4).to, 1.0);
        assert_eq!(
            Scale::counts(2, 4).ticks,
            [0.0, 1.0, 2.0],
            "no half replicas"
        );
    }

    #[test]
    fn a_spike_past_eight_objectives_makes_the_axis_logarithmic() {
        assert!(!Scale::latency(20.0, 2000.0, 250.0, 4).log);
        let spiked = Scale::latency(20.0, 9000.0, 250.0, 5);
        assert_eq!((spiked.log, spiked.from, spiked.to), (true, 20.0, 10_000.0));
        assert!(
            (0.3..0.5).contains(&spiked.place(250.0)),
            "the objective stays in sight"
        );
        assert_eq!(spiked.place(0.0), 0.0);
    }

    #[test]
    fn time_is_divided_as_people_divide_it() {
        assert_eq!(time_ticks(160.0, 6), [0.0, 30.0, 60.0, 90.0, 120.0, 150.0]);
        assert_eq!(time_ticks(0.0, 6), [0.0]);
        assert_eq!(time_ticks(86_400.0, 6).len(), 7);
    }

    #[test]
    fn a_gap_parts_a_line() {
        let points = [
            (0.0, None),
            (1.0, Some(5.0)),
            (2.0, Some(6.0)),
            (3.0, None),
            (4.0, Some(7.0)),
        ];
        assert_eq!(
            pieces(points.into_iter()),
            [vec![(1.0, 5.0), (2.0, 6.0)], vec![(4.0, 7.0)]]
        );
    }

    proptest! {
        #[test]
        fn an_axis_holds_its_values_in_order(min in 1e-3..1e6, more in 0.0..1e6, wanted in 1u32..8) {
            for scale in [Scale::linear(min + more, wanted), Scale::log(min, min + more)] {
                prop_assert!(scale.from < scale.to);
                prop_assert!(scale.from <= min && min + more <= scale.to * (1.0 + 1e-9));
                prop_assert!(scale.ticks.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(scale.place(min) <= scale.place(min + more));
                prop_assert!(scale.ticks.iter().all(|tick| scale.from <= *tick && *tick <= scale.to * (1.0 + 1e-9)));
            }
        }
    }
}
