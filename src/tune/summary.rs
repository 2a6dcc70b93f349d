//! What a person reads when a search has ended, and the same for a program. The same result gives the same bytes; how
//! long it took is told elsewhere.

use std::fmt::Write;

use serde_json::{Value, json};
use taffrail_loadtest::report::scale::Scale;
use taffrail_loadtest::report::text;

use super::advice::{rate, recommended};
use super::candidate::Candidate;
use super::frontier::{Figures, frontier};
use super::search::Tried;
use super::{Told, patch};

/// Columns of the text.
const COLUMNS: usize = 100;

/// Columns and lines of the plot.
const PLOT: (usize, usize) = (64, 14);

/// How many times as much as the recommendation costs what is shown in a plot.
pub(super) const COST_SHOWN: f64 = 2.5;

/// Shares below this are drawn as this: on a scale of powers nothing is zero.
pub(super) const SHARE_MIN: f64 = 0.001;

/// A version of the JSON; it grows when a reader of the former version would misread what it finds.
const SCHEMA_VERSION: u32 = 1;

/// What the figures of the frontier are of.
pub(super) const SEEDS_TOLD: &str = "figures are of one seed, those of the finalists the means of three; of finalists within 3 % of the cheapest, the one \
     that a slower service hurts least is recommended";

/// A heading of a table and the figure under it.
type Column = (&'static str, fn(&Figures) -> String);

const FIGURES: [Column; 6] = [
    ("pod-hours", |figures| format!("{:.2}", figures.pod_hours)),
    ("over", |figures| text::percent(figures.bad_share)),
    ("missed", |figures| minutes(figures.violation_minutes)),
    ("changes", |figures| format!("{:.0}", figures.scale_events)),
    ("flaps", |figures| format!("{:.0}", figures.flaps)),
    ("most pods", |figures| figures.max_replicas.to_string()),
];

/// The text, which ends with a line break. Writing to a `String` cannot fail, so results are dropped.
pub(super) fn text(told: &Told) -> String {
    let Told { known, advice, .. } = told;
    let mut text = format!(
        "{}: an HPA for {}, found in virtual time\n",
        known.workload.service,
        known.objective_told()
    );
    section(&mut text, "A pod", &advice.pod);
    section(&mut text, "The traffic", &traffic(told));
    text.push_str("\nFound\n");
    table(&mut text, &comparison(told));
    text.push_str(
        "\nThe frontier: of what was played as often, nothing is both cheaper and better than one of these, to which the\n\
         recommended one belongs in any case\n",
    );
    for line in patch::folded(&format!("({SEEDS_TOLD})"), COLUMNS) {
        let _ = writeln!(text, "{line}");
    }
    table(&mut text, &frontier_rows(told));
    text.push('\n');
    plot(&mut text, told);
    let _ = write!(
        text,
        "\nRecommended\n{}",
        indented(&patch::folded(&advice.headline, COLUMNS - 2))
    );
    if let Ok(yaml) = crate::config::autoscaler::to_yaml(&patch::hpa(told)) {
        let lines: Vec<String> = yaml.lines().map(|line| format!("  {line}")).collect();
        let _ = write!(text, "\n{}", indented(&lines));
    }
    section(&mut text, "Why", &advice.reasons);
    section(&mut text, "How sure that is", &advice.sure);
    let measure: Vec<String> = advice.measure.iter().chain(&known.notes).cloned().collect();
    section(&mut text, "What to measure to be surer", &measure);
    text
}

fn section(text: &mut String, title: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for sentence in sentences {
        for (n, line) in patch::folded(sentence, COLUMNS - 4).iter().enumerate() {
            let _ = writeln!(text, "{}{line}", if n == 0 { "  - " } else { "    " });
        }
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

fn minutes(minutes: Option<f64>) -> String {
    minutes.map_or_else(|| "-".to_owned(), |minutes| format!("{minutes:.1} min"))
}

/// What was played, in sentences.
pub(super) fn traffic(told: &Told) -> Vec<String> {
    let traffic = &told.known.workload.traffic;
    let length = text::span(traffic.seconds() as f64);
    let mut sentences = vec![format!(
        "{length} with {}/s on average and {}/s at most.",
        rate(traffic.mean()),
        rate(traffic.peak())
    )];
    let whole = traffic.whole();
    if told.parts != [whole] {
        let parts: Vec<String> = told
            .parts
            .iter()
            .map(|part| {
                format!(
                    "{} ({} to {})",
                    part.name,
                    text::moment(part.from_s as f64),
                    text::moment(part.to_s as f64)
                )
            })
            .collect();
        sentences.push(format!(
            "That is long, so candidates were played on {} of its parts: {}.",
            told.parts.len(),
            parts.join(", ")
        ));
    }
    sentences.push(format!(
        "{} plays of {} candidates.",
        told.found.plays,
        told.found.tried.len()
    ));
    sentences
}

/// The present HPA and the recommended one, on the seeds of the search and on others.
pub(super) fn comparison(told: &Told) -> Vec<Vec<String>> {
    let found = &told.found;
    let present = found.present.as_ref();
    // Pod-hours of parts and of the whole would else be compared, which are of other lengths.
    let whole = match told.parts == [told.known.workload.traffic.whole()] {
        true => "",
        false => ", all of it",
    };
    let mut rows = vec![heading("")];
    rows.extend(present.map(|(tuned, _)| row("the HPA there is", tuned)));
    let found_told = found_told(told);
    rows.push(row(found_told, &found.chosen.figures));
    let held = |name: &str, figures| row(&format!("{name}, other seeds{whole}"), figures);
    rows.extend(present.map(|(_, figures)| held("the HPA there is", figures)));
    rows.push(held(found_told, &found.confirmed));
    rows.push(row(&format!("{found_told}, slower service"), &found.slower));
    if let Some(oracle) = found.confirmed.oracle_pod_hours {
        rows.push(vec![
            format!("who knows the future{whole}"),
            format!("{oracle:.2}"),
        ]);
    }
    rows
}

/// What the best that was found is called: it is not recommended where the HPA there is stays.
pub(super) fn found_told(told: &Told) -> &'static str {
    match told.advice.keeps_present {
        true => "the best found beside it",
        false => "recommended",
    }
}

fn heading(first: &str) -> Vec<String> {
    let names = FIGURES.iter().map(|(name, _)| (*name).to_owned());
    std::iter::once(first.to_owned()).chain(names).collect()
}

fn row(name: &str, figures: &Figures) -> Vec<String> {
    let cells = FIGURES.iter().map(|(_, cell)| cell(figures));
    std::iter::once(name.to_owned()).chain(cells).collect()
}

/// What nothing beats, cheapest first, and the one that was chosen: of those that cost the same, a slower service may
/// have been what decided.
pub(super) fn on_frontier(told: &Told) -> Vec<&Tried> {
    let tried = &told.found.tried;
    let all: Vec<Figures> = tried.iter().map(|tried| tried.figures).collect();
    let mut on_it: Vec<&Tried> = frontier(&all)
        .into_iter()
        .map(|place| &tried[place])
        .collect();
    let chosen = &told.found.chosen;
    if on_it
        .iter()
        .all(|tried| tried.candidate != chosen.candidate)
    {
        let cheaper = |tried: &&Tried| tried.figures.pod_hours <= chosen.figures.pod_hours;
        on_it.insert(on_it.partition_point(cheaper), chosen);
    }
    on_it
}

pub(super) fn frontier_rows(told: &Told) -> Vec<Vec<String>> {
    let mut rows = vec![heading("HPA")];
    for tried in on_frontier(told) {
        let mark = if tried.candidate == told.found.chosen.candidate {
            "* "
        } else {
            "  "
        };
        rows.push(row(
            &format!("{mark}{}", name(told, &tried.candidate)),
            &tried.figures,
        ));
    }
    rows
}

pub(super) fn name(told: &Told, candidate: &Candidate) -> String {
    let objective = &told.known.aims.objective;
    format!(
        "{} {}; {}",
        candidate.signal.told(),
        candidate.target_told(objective),
        candidate.rest_told()
    )
}

/// Columns as wide as their widest cell; names to the left, numbers to the right.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::from("  ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(line, "{cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// The scales of a plot of pod-hours and of the share of bad requests.
pub(super) fn scales(told: &Told) -> (Scale, Scale) {
    let chosen = told.found.chosen.figures.pod_hours;
    let present = told.found.present.map_or(0.0, |(tuned, _)| tuned.pod_hours);
    let most = told
        .found
        .tried
        .iter()
        .map(|tried| tried.figures.pod_hours)
        .fold(0.0, f64::max);
    let tried = told.found.tried.iter().map(|tried| tried.figures);
    let all = tried.chain(told.found.present.map(|(tuned, _)| tuned));
    let shares = all.map(|figures| figures.bad_share.max(SHARE_MIN));
    let budget = told.known.aims.objective.budget();
    let (low, high) = shares.fold((budget, budget), |(low, high), share| {
        (low.min(share), high.max(share))
    });
    (
        Scale::linear(most.min(COST_SHOWN * chosen).max(present), 6),
        Scale::log(low, high.min(1.0)),
    )
}

/// Where in a plot figures stand, as shares of its width and height from the lower left; `None` beyond its right edge.
pub(super) fn place((hours, shares): &(Scale, Scale), figures: &Figures) -> Option<(f64, f64)> {
    let is_shown = figures.pod_hours <= hours.to;
    is_shown.then(|| {
        (
            hours.place(figures.pod_hours),
            shares.place(figures.bad_share.max(SHARE_MIN)),
        )
    })
}

fn plot(text: &mut String, told: &Told) {
    let scales = scales(told);
    let (columns, lines) = PLOT;
    let mut grid = vec![vec![' '; columns]; lines];
    let line_of = |height: f64| ((1.0 - height) * (lines - 1) as f64).round() as usize;
    let budget = line_of(scales.1.place(told.known.aims.objective.budget()));
    grid[budget.min(lines - 1)].fill('-');
    let mut draw = |figures: &Figures, mark: char| {
        if let Some((x, y)) = place(&scales, figures) {
            let column = (x * (columns - 1) as f64).round() as usize;
            grid[line_of(y).min(lines - 1)][column.min(columns - 1)] = mark;
        }
    };
    for tried in &told.found.tried {
        draw(&tried.figures, '.');
    }
    for tried in on_frontier(told) {
        draw(&tried.figures, 'o');
    }
    if let Some((tuned, _)) = &told.found.present {
        draw(tuned, 'P');
    }
    draw(&told.found.chosen.figures, '*');
    let [top, bottom] = [scales.1.to, scales.1.from].map(text::percent);
    for (n, line) in grid.iter().enumerate() {
        let label = match n {
            0 => top.as_str(),
            n if n == lines - 1 => bottom.as_str(),
            n if n == budget => "budget",
            _ => "",
        };
        let line: String = line.iter().collect();
        let _ = writeln!(text, "  {label:>8} |{}", line.trim_end());
    }
    let _ = writeln!(text, "  {:8} +{}", "", "-".repeat(columns));
    let right = format!("{} pod-hours", text::number(scales.0.to));
    let _ = writeln!(text, "  {:8}  0{right:>width$}", "", width = columns - 1);
    let present = if told.found.present.is_some() {
        ", P the HPA there is"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "  {:8}  share of requests over the objective; * {}, o the frontier{present}",
        "",
        found_told(told)
    );
}

/// Everything for a program.
pub(super) fn json(told: &Told) -> Value {
    let Told {
        known,
        parts,
        found,
        advice,
    } = told;
    let frontier: Vec<Candidate> = on_frontier(told)
        .iter()
        .map(|tried| tried.candidate)
        .collect();
    let tried: Vec<Value> = found
        .tried
        .iter()
        .map(|tried| {
            json!({
                "candidate": tried.candidate,
                "figures": tried.figures,
                "is_on_frontier": frontier.contains(&tried.candidate),
            })
        })
        .collect();
    let (figures, confirmed) = recommended(found, advice.keeps_present);
    json!({
        "schema_version": SCHEMA_VERSION,
        "version": env!("CARGO_PKG_VERSION"),
        "service": known.workload.service,
        "objective": known.aims.objective,
        "pod": {
            "limit_rps": known.aims.limit,
            "capacity_rps": known.aims.curve.capacity(),
            "curve": known.aims.curve,
            "fit": known.fit(),
        },
        "traffic": {
            "seconds": known.workload.traffic.seconds(),
            "mean_rps": known.workload.traffic.mean(),
            "peak_rps": known.workload.traffic.peak(),
            "parts": parts,
        },
        // The HPA there is is no candidate, and was not played with a slower service.
        "recommended": {
            "candidate": (!advice.keeps_present).then_some(found.chosen.candidate),
            "hpa": patch::hpa(told),
            "figures": figures,
            "confirmed": confirmed,
            "slower": (!advice.keeps_present).then_some(found.slower),
        },
        "present": found.present.map(|(tuned, held)| json!({"figures": tuned, "confirmed": held})),
        "tried": tried,
        "plays": found.plays,
        "advice": {
            "exit_code": advice.status.code(),
            "headline": advice.headline,
            "pod": advice.pod,
            "reasons": advice.reasons,
            "sure": advice.sure,
            "measure": advice.measure,
            "notes": known.notes,
        },
    })
}
