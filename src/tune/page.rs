//! The report of a search for people: one HTML file that needs nothing else, in the style of all reports. It shows what was
//! found and computes nothing of its own; the same result gives the same bytes.

mod scatter;

use std::fmt::{self, Write};

use taffrail_loadtest::cli::ExitStatus;
use taffrail_loadtest::report::html::{self, Escaped};
use taffrail_loadtest::report::scale::Scale;
use taffrail_loadtest::report::text;

use self::scatter::Scatter;
use super::advice::rate;
use super::fit::Fit;
use super::frontier::Figures;
use super::summary::{self, place, scales};
use super::{Told, patch};

/// What the style of all reports does not have. A file of its own, so that editors know it for what it is.
const STYLE: &str = include_str!("page/style.css");

/// Corners of a drawn curve.
const CORNERS: u32 = 120;

/// Up to which share of the capacity a curve is drawn: beyond it there is only a wall.
const DRAWN: f64 = 0.98;

/// How many objectives high a drawn curve is at most.
const HEIGHT: f64 = 4.0;

/// The report as a whole HTML document.
pub(super) fn html(told: &Told) -> String {
    let mut html = String::new();
    write(&mut html, told).expect("writing into a String cannot fail");
    html
}

fn write(out: &mut String, told: &Told) -> fmt::Result {
    let service = &told.known.workload.service;
    let title = format!("A better HPA for {service}");
    html::begin(out, &title, STYLE)?;
    head(out, told, &title)?;
    figures(out, told)?;
    frontier(out, told)?;
    section(out, "Why", &told.advice.reasons)?;
    let yaml = crate::config::autoscaler::to_yaml(&patch::hpa(told)).unwrap_or_default();
    write!(
        out,
        "<section>\n<h2>The HPA</h2>\n<pre><code>{}</code></pre>\n</section>\n",
        Escaped(&yaml)
    )?;
    curve(out, told)?;
    section(out, "The traffic", &summary::traffic(told))?;
    section(out, "How sure that is", &told.advice.sure)?;
    let measure: Vec<String> = told
        .advice
        .measure
        .iter()
        .chain(&told.known.notes)
        .cloned()
        .collect();
    section(out, "What to measure to be surer", &measure)?;
    html::end(out)
}

fn head(out: &mut String, told: &Told, title: &str) -> fmt::Result {
    let (class, word) = match told.advice.status {
        ExitStatus::Passed => ("good", "✓ Keeps the objective"),
        ExitStatus::ObservationLost => ("bad", "? Not sure: something is to be measured first"),
        _ => ("bad", "✗ Misses the objective least"),
    };
    write!(
        out,
        "<header class=\"top\">\n<p class=\"badge simulated\">Found in virtual time: nothing of this was real</p>\n<h1>{}</h1>\n\
         <p class=\"verdict {class}\"><strong>{word}: {}</strong> {}</p>\n</header>\n",
        Escaped(title),
        Escaped(&told.known.objective_told()),
        Escaped(&told.advice.headline)
    )
}

/// The present HPA and the recommended one.
fn figures(out: &mut String, told: &Told) -> fmt::Result {
    out.write_str("<section>\n<h2>Found</h2>\n")?;
    table(out, &summary::comparison(told))?;
    out.write_str(
        "<p class=\"note\">Over: requests that failed or were slower than the objective. Missed: the time in which the objective \
         was. Flaps: turns within five minutes. Other seeds: the same traffic with other moments of its requests, by which \
         nothing was chosen.</p>\n</section>\n",
    )
}

fn table(out: &mut String, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    out.write_str("<div class=\"wide\"><table>\n")?;
    for (n, row) in rows.iter().enumerate() {
        let tag = if n == 0 { "th scope=\"col\"" } else { "td" };
        let end = if n == 0 { "th" } else { "td" };
        let chosen = row.first().is_some_and(|name| name.starts_with('*'));
        out.write_str(if chosen {
            "<tr class=\"chosen\">"
        } else {
            "<tr>"
        })?;
        for column in 0..columns {
            let cell = row.get(column).map(String::as_str).unwrap_or_default();
            let class = if 0 < column && n != 0 {
                " class=\"n\""
            } else {
                ""
            };
            write!(
                out,
                "<{tag}{class}>{}</{end}>",
                Escaped(cell.trim_start_matches(['*', ' ']))
            )?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</table></div>\n")
}

fn section(out: &mut String, title: &str, sentences: &[String]) -> fmt::Result {
    if sentences.is_empty() {
        return Ok(());
    }
    write!(out, "<section>\n<h2>{}</h2>\n", Escaped(title))?;
    list(out, sentences)?;
    out.write_str("</section>\n")
}

fn list(out: &mut String, sentences: &[String]) -> fmt::Result {
    out.write_str("<ul class=\"sentences\">\n")?;
    for sentence in sentences {
        writeln!(out, "<li>{}</li>", Escaped(sentence))?;
    }
    out.write_str("</ul>\n")
}

// --- The frontier.

fn frontier(out: &mut String, told: &Told) -> fmt::Result {
    out.write_str("<section>\n<h2>Violations against pod-hours</h2>\n<div class=\"card\">\n")?;
    let (hours, shares) = scales(told);
    let hours_told = |hours: f64| text::number(hours);
    let mut scatter = Scatter::new(300, (&hours, &hours_told), (&shares, &text::percent))?;
    let objective = &told.known.aims.objective;
    scatter.level(
        "objective",
        shares.place(objective.budget()),
        &format!("budget {}", text::percent(objective.budget())),
    )?;
    let both = (hours, shares);
    let points: Vec<(f64, f64)> = summary::on_frontier(told)
        .iter()
        .filter_map(|tried| place(&both, &tried.figures))
        .collect();
    scatter.line("frontier", &points)?;
    let mut dot = |class: &str, name: &str, figures: &Figures| -> fmt::Result {
        let Some(at) = place(&both, figures) else {
            return Ok(());
        };
        let title = format!(
            "{name}: {:.2} pod-hours, {} over the objective, {:.0} changes",
            figures.pod_hours,
            text::percent(figures.bad_share),
            figures.scale_events
        );
        scatter.dot(class, at, &title)
    };
    for tried in &told.found.tried {
        dot(
            "tried",
            &summary::name(told, &tried.candidate),
            &tried.figures,
        )?;
    }
    if let Some((tuned, _)) = &told.found.present {
        dot("present", "the HPA there is", tuned)?;
    }
    let chosen = &told.found.chosen;
    dot(
        "chosen",
        &format!(
            "{}: {}",
            summary::found_told(told),
            summary::name(told, &chosen.candidate)
        ),
        &chosen.figures,
    )?;
    let mut keys = vec![("chosen", summary::found_told(told)), ("tried", "tried")];
    if told.found.present.is_some() {
        keys.insert(1, ("present", "the HPA there is"));
    }
    let description = format!(
        "{} candidates by pod-hours and by the share of requests over the objective; {} takes {:.2} pod-hours with {}.",
        told.found.tried.len(),
        match told.advice.keeps_present {
            true => "the best found",
            false => "the recommended one",
        },
        chosen.figures.pod_hours,
        text::percent(chosen.figures.bad_share)
    );
    scatter.finish(
        out,
        "frontier",
        "Share of requests over the objective",
        "pod-hours",
        &keys,
        &description,
    )?;
    writeln!(
        out,
        "</div>\n<p class=\"note\">What is left and below is better; of what was played as often, nothing is both cheaper and \
         better than the dashed line, which leads through the recommended one in any case. What costs far more than the best that was found is left out here. The {}.</p>",
        summary::SEEDS_TOLD
    )?;
    table(out, &summary::frontier_rows(told))?;
    out.write_str("</section>\n")
}

// --- The curve.

fn curve(out: &mut String, told: &Told) -> fmt::Result {
    let aims = &told.known.aims;
    let objective = &aims.objective;
    let fit = told.known.fit();
    let loads = Scale::linear(
        aims.curve.capacity().max(fit.map_or(0.0, |fit| fit.seen.1)),
        6,
    );
    let latencies = Scale::linear(HEIGHT * objective.latency_ms(), 4);
    out.write_str("<section>\n<h2>What a pod takes</h2>\n<div class=\"card\">\n")?;
    let mut scatter = Scatter::new(
        220,
        (&loads, &|load| rate(load)),
        (&latencies, &text::latency),
    )?;
    let promised = format!("objective {}", text::latency(objective.latency_ms()));
    scatter.level(
        "objective",
        latencies.place(objective.latency_ms()),
        &promised,
    )?;
    let latency_ms = |load: f64| aims.curve.quantile(load, aims.pods, objective.quantile) * 1000.0;
    let most = DRAWN * aims.curve.capacity();
    let corners = (0..=CORNERS).map(|n| most * f64::from(n) / f64::from(CORNERS));
    let corners = corners
        .map(|load| (load, latency_ms(load)))
        .filter(|(_, ms)| *ms <= latencies.to);
    let corners: Vec<(f64, f64)> = corners
        .map(|(load, ms)| (loads.place(load), latencies.place(ms)))
        .collect();
    scatter.line("judged", &corners)?;
    for point in fit.iter().flat_map(|fit: &&Fit| &fit.points) {
        let Some(latency_s) = point.quantile_s else {
            continue;
        };
        let title = format!(
            "{}/s on a pod: {} seen over {} requests{}",
            rate(point.load),
            text::latency(latency_s * 1000.0),
            text::count(point.requests.round() as u64),
            if point.is_over {
                ", while lines grew"
            } else {
                ""
            }
        );
        let at = (loads.place(point.load), latencies.place(latency_s * 1000.0));
        scatter.dot(if point.is_over { "over" } else { "seen" }, at, &title)?;
    }
    let limit = latency_ms(aims.limit).min(latencies.to);
    let title = format!(
        "{}/s on a pod: the most within the objective",
        rate(aims.limit)
    );
    scatter.dot(
        "chosen",
        (loads.place(aims.limit), latencies.place(limit)),
        &title,
    )?;
    let mut keys = vec![("chosen", "the most within the objective")];
    if fit.is_some() {
        keys.push(("seen", "seen"));
    }
    let title = format!("Latency ({})", text::quantile(objective.quantile));
    let description = format!("A pod takes {}/s within the objective.", rate(aims.limit));
    scatter.finish(
        out,
        "curve",
        &title,
        "requests per second on a pod",
        &keys,
        &description,
    )?;
    out.write_str("</div>\n")?;
    list(out, &told.advice.pod)?;
    out.write_str("</section>\n")
}
