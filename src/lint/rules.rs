//! The rules by subject. Each is a row of its subject's table, with examples that a test runs through it: the wrong one
//! must be found, the right one must not. A rule is a function of the documents; numbers in what it says are computed
//! from them.

#[macro_use]
mod example;

mod adapter;
mod behavior;
mod beside;
mod bounds;
mod chain;
mod form;
mod ignore;
mod live;
mod page;
mod probe;
mod schema;
mod selector;
mod source;
mod target;
mod timing;
mod tuning;
mod workload;

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::rule::Rule;

/// Every subject's rules.
pub(crate) static ALL: &[&[Rule]] = &[
    schema::RULES,
    form::RULES,
    target::RULES,
    tuning::RULES,
    selector::RULES,
    bounds::RULES,
    beside::RULES,
    behavior::RULES,
    timing::RULES,
    source::RULES,
    page::RULES,
    workload::RULES,
    probe::RULES,
    chain::RULES,
    adapter::RULES,
    live::RULES,
    ignore::RULES,
];

/// A number as people write it: at most three decimals.
fn num(number: f64) -> String {
    let rounded = (number * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

/// Seconds as people write them.
fn secs(duration: Duration) -> String {
    format!("{} s", num(duration.as_secs_f64()))
}
