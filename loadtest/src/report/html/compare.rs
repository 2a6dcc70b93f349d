//! Several runs of one scenario on one page, side by side: what came of each in a table, and their latency and replicas
//! on one axis. What the figures are is decided elsewhere; here they are drawn.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::canvas::{Canvas, marks};
use super::page;
use super::panels::{least, most, most_in};
use super::series::{Series, of_steps};
use super::svg::{Point, panel, steps, time_axis};
use super::thin::{COLUMNS, means, thinned};
use super::{Escaped, begin, end};
use crate::recording::Service;
use crate::report::scale::Scale;
use crate::report::{Report, text};
use crate::steps::Steps;

/// What the styles of all reports do not have.
const STYLE: &str = include_str!("compare.css");

/// Runs that are told apart: a line of its own colour and dashes for each, and a column of the table.
pub const RUNS_MAX: usize = 8;

/// The class of each run's lines.
const CLASSES: [&str; RUNS_MAX] = [
    "run0", "run1", "run2", "run3", "run4", "run5", "run6", "run7",
];

/// One of several runs.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// What tells it from the others.
    pub name: &'a str,
    /// What was seen and found.
    pub report: Report<'a>,
}

/// Several runs of a scenario, [`RUNS_MAX`] at most.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// The runs, in the order of the columns.
    pub runs: Vec<Compared<'a>>,
    /// What is told of each service, by its name.
    pub services: BTreeMap<&'a str, Told>,
}

/// What is told of a service.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// A table with a column for each run.
    pub rows: Vec<Row>,
    /// The pods that would have been enough, where that is known.
    pub enough: Steps,
}

/// A figure of each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is.
    pub label: String,
    /// How it is told, by run.
    pub cells: Vec<Cell>,
}

/// A figure of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// How it is told; empty when it is not known.
    pub text: String,
    /// Whether no other run's is better, and some are worse.
    pub is_best: bool,
}

/// The page as a whole HTML document.
#[must_use]
pub fn compare(comparison: &Comparison<'_>) -> String {
    let mut html = String::new();
    write_page(&mut html, comparison).expect("writing into a String cannot fail");
    html
}

fn write_page(out: &mut String, comparison: &Comparison<'_>) -> fmt::Result {
    let Some(first) = comparison.runs.first() else {
        return Ok(());
    };
    let scenario = &first.report.recording.scenario;
    begin(out, &scenario.name, &format!("{}{STYLE}", page::STYLE))?;
    head(out, comparison, first)?;
    let several = 1 < comparison.services.len();
    for (nth, (name, told)) in comparison.services.iter().enumerate() {
        let heading = if several { *name } else { "Side by side" };
        writeln!(out, "<section>\n<h2>{}</h2>", Escaped(heading))?;
        table(out, comparison, told)?;
        charts(out, comparison, (nth, name), told)?;
        out.write_str("</section>\n")?;
    }
    checks(out, comparison)?;
    how_to_read(out)?;
    end(out)
}

fn head(out: &mut String, comparison: &Comparison<'_>, first: &Compared<'_>) -> fmt::Result {
    let recording = first.report.recording;
    let scenario = &recording.scenario;
    write!(
        out,
        "<header class=\"top\">\n<p class=\"badge simulated\">{}</p>\n<h1>{}</h1>\n",
        text::tier(recording),
        Escaped(&scenario.name)
    )?;
    if !scenario.description.is_empty() {
        writeln!(
            out,
            "<p class=\"note\">{}</p>",
            Escaped(&scenario.description)
        )?;
    }
    out.write_str("<ul class=\"verdicts\">\n")?;
    for (run, class) in comparison.runs.iter().zip(CLASSES) {
        let verdict = run.report.verdict;
        writeln!(
            out,
            "<li><svg width=\"28\" height=\"10\" aria-hidden=\"true\"><path class=\"{class}\" d=\"M1 5H27\"/></svg>\
             <strong>{}</strong> <span class=\"outcome {}\">{} {}</span> {}</li>",
            Escaped(run.name),
            page::class(verdict.outcome),
            text::sign(verdict.outcome),
            text::outcome(verdict.outcome),
            Escaped(&verdict.sentence)
        )?;
    }
    out.write_str("</ul>\n</header>\n<dl class=\"facts\">\n")?;
    let facts = [
        ("duration", text::span(recording.about.duration_s)),
        ("seed", scenario.seed.to_string()),
        ("version", recording.about.version.clone()),
    ];
    for (name, value) in &facts {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(value))?;
    }
    out.write_str("</dl>\n")
}

fn table(out: &mut String, comparison: &Comparison<'_>, told: &Told) -> fmt::Result {
    out.write_str("<div class=\"wide\" tabindex=\"0\"><table class=\"numbers compared\">\n<thead><tr><td></td>")?;
    for run in &comparison.runs {
        write!(out, "<th scope=\"col\">{}</th>", Escaped(run.name))?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    for row in &told.rows {
        write!(out, "<tr><th scope=\"row\">{}</th>", Escaped(&row.label))?;
        for cell in &row.cells {
            match (cell.text.as_str(), cell.is_best) {
                ("", _) => out.write_str("<td>–</td>")?,
                (text, true) => write!(out, "<td><strong>{}</strong></td>", Escaped(text))?,
                (text, false) => write!(out, "<td>{}</td>", Escaped(text))?,
            }
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody>\n</table></div>\n")
}

/// A run's lines of a service.
struct Lines<'a> {
    name: &'a str,
    class: &'static str,
    service: &'a Service,
    series: Series,
}

impl Lines<'_> {
    /// The judged quantile, or the 0.95-quantile where nothing is.
    fn judged(&self, q: f64) -> &[Point] {
        let judged = self.series.quantiles.iter().find(|(of, _)| *of == q);
        judged.map_or(&[], |(_, line)| line)
    }
}

fn charts(
    out: &mut String,
    comparison: &Comparison<'_>,
    (nth, name): (usize, &str),
    told: &Told,
) -> fmt::Result {
    let runs = comparison.runs.iter().zip(CLASSES);
    let lines: Vec<Lines<'_>> = runs
        .filter_map(|(run, class)| {
            let recording = run.report.recording;
            Some(Lines {
                name: run.name,
                class,
                service: recording.services.get(name)?,
                series: Series::of(recording, name),
            })
        })
        .collect();
    let Some(first) = comparison.runs.first() else {
        return Ok(());
    };
    let ends = comparison.runs.iter().map(|run| run.report.end_s());
    let stages = first.report.recording.stages.iter();
    let canvas = Canvas {
        id: format!("s{nth}"),
        end_s: ends.fold(1.0, f64::max),
        stages: stages.filter(|stage| stage.service == name).collect(),
        scaled_s: Vec::new(),
        events: marks(first.report.recording, name),
        findings: Vec::new(),
    };
    out.write_str("<div class=\"card\">\n")?;
    load(out, &canvas, &lines)?;
    latency(out, &canvas, &lines, first.report)?;
    replicas(out, &canvas, &lines, &told.enough)?;
    time_axis(out, canvas.end_s)?;
    out.write_str("</div>\n")
}

/// The load, which is that of all runs.
fn load(out: &mut String, canvas: &Canvas<'_>, lines: &[Lines<'_>]) -> fmt::Result {
    let Some(first) = lines.first() else {
        return Ok(());
    };
    let intended = &first.series.intended;
    let highest = most(intended);
    // A quarter more than there was, for the names of the stages.
    let scale = Scale::linear(1.25 * highest.max(1.0), 3);
    let mut chart = canvas.chart(110, scale, |rate| format!("{}/s", text::number(rate)))?;
    // Chance alone makes the rate of a second a band; of a long run the mean says more.
    let drawn = || means(intended, canvas.end_s, COLUMNS).into_iter();
    chart.area("offered-area", drawn())?;
    chart.line("offered", drawn())?;
    canvas.stage_names(&mut chart)?;
    canvas.over(&mut chart, |seconds| {
        format!("up to {:.0}/s", most_in(intended, &seconds).unwrap_or(0.0))
    })?;
    let description = format!("Up to {highest:.0} requests per second.");
    panel(
        out,
        chart,
        &format!("{}-load", canvas.id),
        "Load, requests per second",
        &[("offered", "intended".to_owned())],
        &description,
    )
}

fn latency(
    out: &mut String,
    canvas: &Canvas<'_>,
    lines: &[Lines<'_>],
    report: Report<'_>,
) -> fmt::Result {
    let slo = report.recording.scenario.slo;
    let q = slo.map_or(0.95, |slo| slo.quantile);
    let objective_ms = slo.map(|slo| slo.target.seconds() * 1e3);
    let highest = lines.iter().map(|line| most(line.judged(q)));
    let highest = highest.fold(0.0, f64::max);
    let lowest = lines.iter().filter_map(|line| least(line.judged(q)));
    let lowest = lowest.reduce(f64::min).unwrap_or(1.0);
    let scale = Scale::latency(lowest, highest, objective_ms.unwrap_or(2.0 * lowest), 5);
    let title = match scale.log {
        true => format!("{} of each, logarithmic", text::quantile(q)),
        false => format!("{} of each", text::quantile(q)),
    };
    let mut chart = canvas.chart(230, scale, text::latency)?;
    if let Some(ms) = objective_ms {
        chart.level("objective", ms, &format!("objective {}", text::latency(ms)))?;
    }
    for line in lines {
        chart.line(
            line.class,
            thinned(line.judged(q), canvas.end_s, COLUMNS).into_iter(),
        )?;
    }
    canvas.over(&mut chart, |seconds| {
        words(lines, |line| match most_in(line.judged(q), &seconds) {
            Some(ms) if ms.is_finite() => text::latency(ms),
            Some(_) => "among failed requests".to_owned(),
            None => "unknown".to_owned(),
        })
    })?;
    let description = format!(
        "{} reached {} at most.",
        text::quantile(q),
        text::latency(highest)
    );
    panel(
        out,
        chart,
        &format!("{}-latency", canvas.id),
        &title,
        &keys(lines),
        &description,
    )
}

fn replicas(
    out: &mut String,
    canvas: &Canvas<'_>,
    lines: &[Lines<'_>],
    enough: &Steps,
) -> fmt::Result {
    let ready = |line: &Lines<'_>| of_steps(&line.service.replicas.ready, canvas.end_s);
    let needed = of_steps(enough, canvas.end_s);
    let highest = lines.iter().map(|line| most(&ready(line)));
    let highest = highest.fold(most(&needed), f64::max);
    let scale = Scale::counts(highest as u32 + 1, 4);
    let mut chart = canvas.chart(170, scale, text::number)?;
    let mut keys = keys(lines);
    if !enough.is_empty() {
        chart.area("enough", steps(needed.into_iter(), canvas.end_s))?;
        keys.push((
            "enough",
            "the oracle's, who knows the load before it comes".to_owned(),
        ));
    }
    for line in lines {
        chart.line(line.class, steps(ready(line).into_iter(), canvas.end_s))?;
    }
    canvas.over(&mut chart, |seconds| {
        let at = |steps: &Steps| {
            let n = steps.at(seconds.start as f64);
            n.map_or("unknown".to_owned(), |n| n.to_string())
        };
        let told = words(lines, |line| at(&line.service.replicas.ready));
        match enough.is_empty() {
            true => told,
            false => format!("{told}, oracle {}", at(enough)),
        }
    })?;
    panel(
        out,
        chart,
        &format!("{}-replicas", canvas.id),
        "Ready replicas of each",
        &keys,
        &format!("Up to {highest:.0} replicas."),
    )
}

fn keys<'k>(lines: &[Lines<'_>]) -> Vec<(&'k str, String)> {
    let key = |line: &Lines<'_>| (line.class, line.name.to_owned());
    lines.iter().map(key).collect()
}

fn words(lines: &[Lines<'_>], word: impl Fn(&Lines<'_>) -> String) -> String {
    let words = lines
        .iter()
        .map(|line| format!("{} {}", line.name, word(line)));
    words.collect::<Vec<_>>().join(", ")
}

/// Each check, and how it ended in each run.
fn checks(out: &mut String, comparison: &Comparison<'_>) -> fmt::Result {
    let names = comparison.check_names();
    if names.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section>\n<h2>Checks</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"numbers compared\">\n<thead><tr><td></td>",
    )?;
    for run in &comparison.runs {
        write!(out, "<th scope=\"col\">{}</th>", Escaped(run.name))?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    for (service, name) in names {
        let shown = match service {
            "" => name.to_owned(),
            service if 1 < comparison.services.len() => format!("{service}: {name}"),
            _ => name.to_owned(),
        };
        write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code></th>",
            Escaped(&shown)
        )?;
        for run in &comparison.runs {
            let findings = &run.report.verdict.findings;
            let found = findings.iter().find(|finding| {
                (finding.service.as_str(), finding.name.as_str()) == (service, name)
            });
            match found {
                None => out.write_str("<td>–</td>")?,
                Some(found) => write!(
                    out,
                    "<td title=\"{}\"><span class=\"outcome {}\">{} {}</span><small>{}</small></td>",
                    Escaped(&found.sentence),
                    page::class(found.outcome),
                    text::sign(found.outcome),
                    text::outcome(found.outcome),
                    Escaped(&text::value(found))
                )?,
            }
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody>\n</table></div>\n</section>\n")
}

impl Comparison<'_> {
    /// The service and the name of each check of any run, in the order of the first that has it.
    #[must_use]
    pub fn check_names(&self) -> Vec<(&str, &str)> {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for finding in self
            .runs
            .iter()
            .flat_map(|run| &run.report.verdict.findings)
        {
            let name = (finding.service.as_str(), finding.name.as_str());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn how_to_read(out: &mut String) -> fmt::Result {
    out.write_str(
        "<section>\n<h2>How to read this</h2>\n<dl class=\"reading\">\n\
         <dt>The same load for all</dt><dd>All runs have the same requests at the same moments; only the HPA differs. \
         What is best in its row is bold.</dd>\n\
         <dt>The oracle</dt><dd>It knows what a pod takes within the objective and every request before it comes, and \
         has the pods for it just in time. Nobody can be as cheap and as good; how many times its pod-hours an HPA needs \
         is what not knowing costs. Pods are paid for from the moment they are wanted.</dd>\n\
         <dt>Objective missed</dt><dd>The seconds at whose end the quantile of the trailing window was above the \
         objective.</dd>\n\
         <dt>Flaps</dt><dd>Two changes of opposite directions within five minutes.</dd>\n</dl>\n</section>\n",
    )
}
