//! How `taffrail-loadtest` ends, as a process exit code: k6's codes where the meaning is the same. Pure: what happened
//! is decided elsewhere, and here is which of several reasons counts, and which code it has.

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use crate::judge::verdict::Reason;

/// The highest code of our own: from 124 on codes are those of `timeout` and of shells.
const CODE_MAX: u8 = 123;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// Everything that was asked for holds.
    Passed = 0,
    /// Something does not hold.
    Failed = 99,
    /// The system was not as the scenario wants it before the first request.
    Preconditions = 100,
    /// What the run had changed could not be put back.
    CleanUp = 101,
    /// The scenario or the flags make no sense, a report cannot be written, or a check can never hold and `--strict` was
    /// given.
    Invalid = 104,
    /// The run was interrupted; the report is of what was sent until then.
    Interrupted = 105,
    /// A bug of this program.
    Panicked = 109,
    /// The load was not delivered as planned, so the figures say little.
    NotDelivered = 112,
    /// Something was not seen, or was changed meanwhile.
    ObservationLost = 113,
    /// The cluster cannot be reached, or does not allow what is needed.
    ClusterUnreachable = 114,
    /// The run was ended for the sake of whoever uses the service.
    SafetyStop = 115,
    /// Everything holds, but it is worse than the baseline.
    Regression = 116,
}

impl ExitStatus {
    /// Every status, the one that outweighs all others first.
    pub const BY_WEIGHT: [Self; 12] = [
        Self::Panicked,
        Self::Interrupted,
        Self::ClusterUnreachable,
        Self::Invalid,
        Self::Preconditions,
        Self::CleanUp,
        Self::SafetyStop,
        Self::Failed,
        Self::NotDelivered,
        Self::ObservationLost,
        Self::Regression,
        Self::Passed,
    ];

    /// The one that counts of several; [`Self::Passed`] of none. A check that failed outweighs one that could not be
    /// told, because it failed on what was seen.
    pub fn heaviest(all: impl IntoIterator<Item = Self>) -> Self {
        let weight = |status: &Self| Self::BY_WEIGHT.iter().position(|other| other == status);
        all.into_iter().min_by_key(weight).unwrap_or(Self::Passed)
    }

    /// The process exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The word for it in `--exit-map`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Preconditions => "preconditions",
            Self::CleanUp => "clean-up",
            Self::Invalid => "invalid",
            Self::Interrupted => "interrupted",
            Self::Panicked => "panicked",
            Self::NotDelivered => "not-delivered",
            Self::ObservationLost => "observation-lost",
            Self::ClusterUnreachable => "cluster",
            Self::SafetyStop => "safety-stop",
            Self::Regression => "regression",
        }
    }
}

impl From<Reason> for ExitStatus {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Passed => Self::Passed,
            Reason::Regression => Self::Regression,
            Reason::ObservationLost => Self::ObservationLost,
            Reason::NotDelivered => Self::NotDelivered,
            Reason::Failed => Self::Failed,
            Reason::SafetyStop => Self::SafetyStop,
            Reason::Preconditions => Self::Preconditions,
            Reason::Interrupted => Self::Interrupted,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// Which codes are others than those above: `inconclusive=0,regression=1`. The report always says what was so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExitMap(Vec<(ExitStatus, u8)>);

impl ExitMap {
    /// The code for a status.
    #[must_use]
    pub fn code(&self, status: ExitStatus) -> u8 {
        let mapped = self.0.iter().rfind(|(mapped, _)| *mapped == status);
        mapped.map_or(status.code(), |(_, code)| *code)
    }
}

impl FromStr for ExitMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut map = Vec::new();
        for pair in text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
        {
            let (word, code) = pair
                .split_once('=')
                .ok_or_else(|| format!("`{pair}`: write it as `inconclusive=0`"))?;
            let code = code.trim().parse().ok().filter(|code| *code <= CODE_MAX);
            let code =
                code.ok_or_else(|| format!("`{pair}`: a code is between 0 and {CODE_MAX}"))?;
            let inconclusive = [ExitStatus::NotDelivered, ExitStatus::ObservationLost];
            let named: Vec<ExitStatus> = match word.trim() {
                "inconclusive" => inconclusive.to_vec(),
                word => ExitStatus::BY_WEIGHT
                    .into_iter()
                    .filter(|status| status.word() == word)
                    .collect(),
            };
            if named.is_empty() {
                let words = ExitStatus::BY_WEIGHT.map(ExitStatus::word).join(", ");
                return Err(format!("`{word}` is not one of inconclusive, {words}"));
            }
            map.extend(named.into_iter().map(|status| (status, code)));
        }
        Ok(Self(map))
    }
}

impl fmt::Display for ExitMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (status, code)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}={code}", status.word())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_reasons_the_heavier_one_counts() {
        use ExitStatus as S;
        let cases = [
            (vec![], S::Passed),
            (vec![S::Passed, S::Regression], S::Regression),
            (vec![S::Regression, S::ObservationLost], S::ObservationLost),
            (vec![S::NotDelivered, S::Failed], S::Failed),
            (vec![S::Failed, S::SafetyStop], S::SafetyStop),
            (vec![S::SafetyStop, S::Preconditions], S::Preconditions),
            (vec![S::Invalid, S::Interrupted, S::Failed], S::Interrupted),
            (vec![S::ClusterUnreachable, S::Panicked], S::Panicked),
        ];
        for (all, expected) in cases {
            assert_eq!(S::heaviest(all.clone()), expected, "{all:?}");
            assert_eq!(
                S::heaviest(all.iter().rev().copied()),
                expected,
                "{all:?} reversed"
            );
        }
    }

    #[test]
    fn every_status_has_a_weight_a_word_and_a_code_below_those_of_shells() {
        for status in ExitStatus::BY_WEIGHT {
            assert!(status.code() <= CODE_MAX, "{status:?}");
            let map: ExitMap = format!("{}=7", status.word()).parse().unwrap();
            assert_eq!(map.code(status), 7);
        }
    }

    #[test]
    fn codes_may_be_mapped_and_others_stay() {
        let map: ExitMap = "inconclusive=0, regression=1".parse().unwrap();
        assert_eq!(map.code(ExitStatus::NotDelivered), 0);
        assert_eq!(map.code(ExitStatus::ObservationLost), 0);
        assert_eq!(map.code(ExitStatus::Regression), 1);
        assert_eq!(map.code(ExitStatus::Failed), 99);
        for (text, expected) in [
            ("inconclusive", "write it as"),
            ("failed=124", "between 0 and 123"),
            ("lost=1", "`lost` is not one of inconclusive,"),
        ] {
            let error = text.parse::<ExitMap>().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
