//! The timelines of the generator: whether it could send what it was asked to. If not, all the rest says little.

use std::fmt::{self, Write};

use super::Escaped;
use super::canvas::Canvas;
use super::svg::{Chart, Point, panel, time_axis};
use super::thin::{COLUMNS, thinned};
use crate::judge::validity::CPU_MAX;
use crate::recording::{GeneratorSecond, Recording};
use crate::report::scale::Scale;
use crate::report::text;

/// All timelines of the generator, their axis, and what it says of itself.
pub(super) fn write(out: &mut String, recording: &Recording, canvas: &Canvas<'_>) -> fmt::Result {
    delivery(out, recording, canvas)?;
    cpu(out, recording, canvas)?;
    in_flight(out, recording, canvas)?;
    time_axis(out, canvas.end_s)?;
    notes(out, recording)
}

/// Requests that were not sent at their moment, of all services.
fn delivery(out: &mut String, recording: &Recording, canvas: &Canvas<'_>) -> fmt::Result {
    let (late, dropped) = (
        rates(recording, |slot| slot.late),
        rates(recording, |slot| slot.counts.dropped),
    );
    let highest = most(&late).max(most(&dropped));
    let mut chart = canvas.chart(90, Scale::linear(highest.max(1.0), 2), |v| {
        format!("{}/s", text::number(v))
    })?;
    line(&mut chart, canvas, "errors", &dropped)?;
    line(&mut chart, canvas, "offered", &late)?;
    canvas.over(&mut chart, |range| {
        let [late, dropped] = [&late, &dropped].map(|rates| rates.get(range.clone()));
        let [late, dropped] = [late, dropped].map(|rates| most(rates.unwrap_or_default()));
        format!("late {late:.0}/s, dropped {dropped:.0}/s")
    })?;
    let keys = [
        ("offered", "sent more than 100 ms late".to_owned()),
        ("errors", "dropped".to_owned()),
    ];
    let title = "Requests not sent at their moment, per second";
    panel(
        out,
        chart,
        "generator-delivery",
        title,
        &keys,
        &format!("Up to {highest:.0} per second."),
    )
}

fn cpu(out: &mut String, recording: &Recording, canvas: &Canvas<'_>) -> fmt::Result {
    let cores = recording.generator.cores;
    let used = seconds(recording, |second| second.cpu);
    let highest = most(&used);
    // Room above the line of what it may use, for its name.
    let mut chart = canvas.chart(
        90,
        Scale::linear((1.3 * cores).max(highest).max(0.1), 2),
        text::number,
    )?;
    if 0.0 < cores {
        let (most, all) = (text::number(CPU_MAX * cores), text::number(cores));
        let name = format!("at most {most} of {all}");
        chart.level("target", CPU_MAX * cores, &name)?;
    }
    line(&mut chart, canvas, "done", &used)?;
    canvas.over(&mut chart, |range| {
        let stretch = recording.generator.seconds.get(range).unwrap_or_default();
        let most = stretch.iter().map(|second| second.cpu).fold(0.0, f64::max);
        let throttled: u32 = stretch.iter().map(|second| second.throttled).sum();
        format!(
            "{} cores, throttled {throttled} times",
            text::measure(most, "")
        )
    })?;
    let keys = [("done", "used".to_owned())];
    let description = format!(
        "Up to {} of {} cores.",
        text::measure(highest, ""),
        text::number(cores)
    );
    panel(
        out,
        chart,
        "generator-cpu",
        "CPU, cores",
        &keys,
        &description,
    )
}

fn in_flight(out: &mut String, recording: &Recording, canvas: &Canvas<'_>) -> fmt::Result {
    let in_flight = seconds(recording, |second| second.in_flight as f64);
    let highest = most(&in_flight);
    let mut chart = canvas.chart(90, Scale::linear(highest.max(1.0), 2), text::number)?;
    line(&mut chart, canvas, "done", &in_flight)?;
    canvas.over(&mut chart, |range| {
        let stretch = recording.generator.seconds.get(range).unwrap_or_default();
        let most = stretch.iter().map(|second| second.in_flight).max();
        most.map_or("not known".to_owned(), |most| format!("{most} in flight"))
    })?;
    let keys = [("done", "of all services".to_owned())];
    let description = format!("Up to {highest:.0}.");
    panel(
        out,
        chart,
        "generator-in-flight",
        "Requests in flight",
        &keys,
        &description,
    )
}

fn notes(out: &mut String, recording: &Recording) -> fmt::Result {
    out.write_str("<ul class=\"notes\">\n")?;
    for (name, service) in &recording.services {
        let lag = [0.5, 0.99].map(|q| service.load.lag.quantile(q));
        let found = recording.generator.discovery.get(name);
        let mut words = vec![format!("{name}:")];
        words.extend(found.map(|found| format!("backends found by {found},")));
        words.push(match lag {
            [Some(p50), Some(p99)] => {
                let ms = |latency: std::time::Duration| text::latency(latency.as_secs_f64() * 1e3);
                format!(
                    "requests taken up {} after their moment (p99 {})",
                    ms(p50),
                    ms(p99)
                )
            }
            _ => "how late requests were taken up is not known".to_owned(),
        });
        words.push(format!(
            "; {} sent more than 100 ms late, {} dropped.",
            service.load.late, service.load.counts.dropped
        ));
        let words = words.join(" ").replace(" ;", ";");
        writeln!(out, "<li>{}</li>", Escaped(&words))?;
    }
    for note in &recording.generator.notes {
        writeln!(out, "<li>{}</li>", Escaped(note))?;
    }
    out.write_str("</ul>\n")
}

fn seconds(recording: &Recording, value: impl Fn(&GeneratorSecond) -> f64) -> Vec<Point> {
    let seconds = recording.generator.seconds.iter();
    seconds
        .map(|second| (second.t_s - 0.5, Some(value(second))))
        .collect()
}

/// How many there were of all services, per second of the wall's clock.
fn rates(recording: &Recording, value: impl Fn(&crate::measured::Slot) -> u64) -> Vec<Point> {
    let services = || recording.services.values();
    let length = services()
        .map(|service| service.load.slots.len())
        .max()
        .unwrap_or(0);
    let sum = |second: usize| {
        services()
            .filter_map(|service| service.load.slots.get(second))
            .map(&value)
            .sum::<u64>()
    };
    let speed = recording.about.speed();
    (0..length)
        .map(|second| (second as f64 + 0.5, Some(sum(second) as f64 * speed)))
        .collect()
}

fn line(chart: &mut Chart, canvas: &Canvas<'_>, class: &str, points: &[Point]) -> fmt::Result {
    chart.line(class, thinned(points, canvas.end_s, COLUMNS).into_iter())
}

fn most(points: &[Point]) -> f64 {
    points
        .iter()
        .filter_map(|(_, value)| *value)
        .fold(0.0, f64::max)
}
