//! The unit an app counts time in. The program itself counts in seconds.

/// The unit an app counts time in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unit {
    /// Seconds.
    #[default]
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

impl Unit {
    /// A number of these in seconds. A division, not a product: 100 ms are exactly the number that is written `0.1`, so
    /// a bound stays where an objective is.
    pub fn seconds(self, value: f64) -> f64 {
        match self {
            Self::Seconds => value,
            Self::Milliseconds => value / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_the_same_numbers_as_seconds_written_out() {
        for (written, seconds) in [(5.0, 0.005), (100.0, 0.1), (250.0, 0.25), (1700.0, 1.7)] {
            assert_eq!(Unit::Milliseconds.seconds(written), seconds);
            assert_eq!(Unit::Seconds.seconds(written), written);
        }
        assert_eq!(Unit::Milliseconds.seconds(f64::INFINITY), f64::INFINITY);
    }
}
