//! The page around the timelines: verdict, checks, reaction times, stages, events, how to read it, the scenario.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::canvas::{Canvas, marks};
use super::generator;
use super::panels::Timelines;
use super::series::Series;
use super::{Escaped, begin, end};
use crate::judge::{Finding, Outcome};
use crate::recording::{EventKind, Service};
use crate::report::reaction::{Reaction, reactions};
use crate::report::{Report, text};

/// What the style of all reports does not have.
pub(super) const STYLE: &str = include_str!("report.css");

/// Rows of a list of events; the JSON has them all.
const EVENTS_MAX: usize = 300;

/// A check with its number on the page.
type Numbered<'a> = (usize, &'a Finding);

/// The whole document.
pub(super) fn write(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let findings: Vec<Numbered<'_>> = report.ranked().into_iter().enumerate().collect();
    let title = &report.recording.scenario.name;
    begin(out, title, &style(&findings))?;
    verdict(out, report)?;
    facts(out, report)?;
    checks(out, report, &findings)?;
    timelines(out, report, &findings)?;
    reaction(out, report)?;
    stages(out, report)?;
    events(out, report)?;
    how_to_read(out, report)?;
    scenario(out, report)?;
    end(out)
}

/// The style, with a rule for each check that marks something: a page without scripts shows a mark when the address
/// names its note.
fn style(findings: &[Numbered<'_>]) -> String {
    let mut style = STYLE.to_owned();
    for (number, _) in findings
        .iter()
        .filter(|(_, finding)| finding.from_s.is_some())
    {
        let _ = writeln!(
            style,
            "#f{number}:target ~ .card .found{number} {{ display: inline; }}"
        );
    }
    style
}

fn verdict(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let about = &report.recording.about;
    let scenario = &report.recording.scenario;
    let (class, word) = match report.verdict.outcome {
        Outcome::Pass => ("good", "Passed"),
        Outcome::Fail => ("bad", "Failed"),
        Outcome::Inconclusive => ("unsure", "Inconclusive"),
        Outcome::Skipped => ("unsure", "Nothing was checked"),
    };
    let badge = match about.tier {
        crate::recording::Tier::Virtual => "badge simulated",
        _ => "badge",
    };
    write!(
        out,
        "<header class=\"top\">\n<p class=\"{badge}\">{}</p>\n<h1>{}</h1>\n",
        text::tier(report.recording),
        Escaped(&scenario.name)
    )?;
    if !scenario.description.is_empty() {
        writeln!(
            out,
            "<p class=\"note\">{}</p>",
            Escaped(&scenario.description)
        )?;
    }
    let sign = text::sign(report.verdict.outcome);
    write!(
        out,
        "<p class=\"verdict {class}\"><strong>{sign} {word}</strong> {}</p>\n</header>\n",
        Escaped(&report.verdict.sentence)
    )
}

fn facts(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let about = &report.recording.about;
    let mut facts = vec![
        ("checks".to_owned(), report.tally()),
        ("duration".to_owned(), text::span(about.duration_s)),
        (
            "seed".to_owned(),
            report.recording.scenario.seed.to_string(),
        ),
        ("attempt".to_owned(), about.attempt.to_string()),
    ];
    facts.extend(
        about
            .started
            .iter()
            .map(|started| ("started".to_owned(), started.clone())),
    );
    facts.push(("version".to_owned(), about.version.clone()));
    facts.extend(about.facts.clone());
    if about.interrupted {
        facts.push((
            "interrupted".to_owned(),
            "the run was told to stop before its end".to_owned(),
        ));
    }
    out.write_str("<dl class=\"facts\">\n")?;
    for (name, value) in &facts {
        writeln!(
            out,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            Escaped(name),
            Escaped(value)
        )?;
    }
    out.write_str("</dl>\n")
}

fn checks(out: &mut String, report: &Report<'_>, findings: &[Numbered<'_>]) -> fmt::Result {
    out.write_str("<section id=\"checks\">\n<h2>Checks</h2>\n")?;
    if findings.is_empty() {
        return out.write_str("<p>The scenario asks for none.</p>\n</section>\n");
    }
    out.write_str(
        "<p class=\"note\">A name that is a link shows in the charts what the check is about.</p>\n\
         <table class=\"checks\">\n<thead><tr><th scope=\"col\">Outcome</th><th scope=\"col\">Check</th>\
         <th scope=\"col\">Found</th><th scope=\"col\">Wanted</th><th scope=\"col\">In words</th></tr></thead>\n<tbody>\n",
    )?;
    let several = 1 < report.recording.services.len();
    findings
        .iter()
        .try_for_each(|finding| check(out, *finding, several))?;
    out.write_str("</tbody>\n</table>\n</section>\n")
}

fn check(out: &mut String, (number, finding): Numbered<'_>, several: bool) -> fmt::Result {
    let outcome = finding.outcome;
    let class = class(outcome);
    write!(
        out,
        "<tr class=\"{class}\"><td><span class=\"outcome {class}\">{} {}</span>",
        text::sign(outcome),
        text::outcome(outcome)
    )?;
    if finding.marginal {
        out.write_str("<small>marginal</small>")?;
    }
    let name = Escaped(&finding.name);
    match finding.from_s {
        Some(_) => write!(
            out,
            "</td><td><a href=\"#f{number}\"><code>{name}</code></a>"
        )?,
        None => write!(out, "</td><td><code>{name}</code>")?,
    }
    let group = text::group(finding.group);
    match several && !finding.service.is_empty() {
        true => write!(out, "<small>{}, {group}</small>", Escaped(&finding.service))?,
        false => write!(out, "<small>{group}</small>")?,
    }
    writeln!(
        out,
        "</td><td class=\"n\">{}<small>{}</small></td><td class=\"n\">{}</td><td class=\"words\">{}</td></tr>",
        Escaped(&text::value(finding)),
        Escaped(&text::resolution(finding)),
        Escaped(&finding.limit),
        Escaped(&finding.sentence)
    )
}

pub(super) fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "good",
        Outcome::Fail => "bad",
        Outcome::Inconclusive => "unsure",
        Outcome::Skipped => "left",
    }
}

fn timelines(out: &mut String, report: &Report<'_>, findings: &[Numbered<'_>]) -> fmt::Result {
    let recording = report.recording;
    out.write_str(
        "<section>\n<h2>What happened, second by second</h2>\n\
         <p class=\"note\">All charts share one time axis, in minutes and seconds since the first request was due. Stages \
         are shaded in turn, a dotted vertical line is a change of the replicas that the HPA desires, a solid one an event \
         of the scenario, shaded while it lasts, and a red band is where the objective did not hold. Point at a chart to \
         read its values.</p>\n</section>\n",
    )?;
    let several = 1 < recording.services.len();
    for (index, (name, service)) in recording.services.iter().enumerate() {
        let about: Vec<Numbered<'_>> = findings
            .iter()
            .copied()
            .filter(|(_, finding)| finding.service == *name)
            .collect();
        let heading = if several { name } else { "" };
        let stages = recording
            .stages
            .iter()
            .filter(|stage| stage.service == *name)
            .collect();
        let changes = service.replicas.desired.changes(0.0..report.end_s());
        let canvas = Canvas {
            id: format!("s{index}"),
            end_s: report.end_s(),
            stages,
            scaled_s: changes.map(|change| change.t_s).collect(),
            events: marks(recording, name),
            findings: about,
        };
        let timelines = Timelines {
            canvas,
            series: Series::of(recording, name),
            service,
            slo: recording.scenario.slo.as_ref(),
        };
        block(out, heading, &timelines.canvas, |out| timelines.write(out))?;
    }
    let services: BTreeSet<&str> = recording.services.keys().map(String::as_str).collect();
    let of_the_run = |(_, finding): &Numbered<'_>| !services.contains(finding.service.as_str());
    let canvas = Canvas {
        id: "generator".to_owned(),
        end_s: report.end_s(),
        stages: Vec::new(),
        scaled_s: Vec::new(),
        events: Vec::new(),
        findings: findings.iter().copied().filter(of_the_run).collect(),
    };
    block(out, "The generator itself", &canvas, |out| {
        generator::write(out, recording, &canvas)
    })
}

/// A card with timelines, after the notes of the checks that mark something in it.
fn block(
    out: &mut String,
    heading: &str,
    canvas: &Canvas<'_>,
    charts: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    out.write_str("<section class=\"block\">\n")?;
    if !heading.is_empty() {
        writeln!(out, "<h3 class=\"service\">{}</h3>", Escaped(heading))?;
    }
    for (number, finding) in canvas
        .findings
        .iter()
        .filter(|(_, finding)| finding.from_s.is_some())
    {
        writeln!(
            out,
            "<p class=\"found-note\" id=\"f{number}\"><strong>{} {}</strong> {} <a href=\"#checks\">All checks</a></p>",
            text::sign(finding.outcome),
            Escaped(&finding.name),
            Escaped(&finding.sentence)
        )?;
    }
    out.write_str("<div class=\"card\">\n")?;
    charts(out)?;
    out.write_str("</div>\n</section>\n")
}

fn reaction(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let services = report.recording.services.iter();
    let rows: Vec<(&str, Reaction)> = services
        .flat_map(|(name, service)| {
            let of_service = reactions(service, 0.0..report.end_s());
            of_service
                .into_iter()
                .map(move |reaction| (name.as_str(), reaction))
        })
        .collect();
    out.write_str("<section>\n<h2>How long each scale-out took</h2>\n")?;
    if rows.is_empty() {
        let services = report.recording.services.values();
        let looked_at = services.map(|service| service.autoscaler.is_some());
        return out.write_str(match looked_at.into_iter().any(|seen| seen) {
            true => "<p>The HPA never scaled out.</p>\n</section>\n",
            false => "<p>No HPA was looked at.</p>\n</section>\n",
        });
    }
    out.write_str(
        "<div class=\"wide\" tabindex=\"0\"><table class=\"numbers\">\n<thead><tr><th scope=\"col\">service</th>\
         <th scope=\"col\">decided at</th><th scope=\"col\">replicas</th><th scope=\"col\">breach to decision</th>\
         <th scope=\"col\">decision to ready</th><th scope=\"col\">decision to first answer</th>\
         <th scope=\"col\">whole</th></tr></thead>\n<tbody>\n",
    )?;
    for (name, reaction) in &rows {
        let seconds =
            |seconds: Option<f64>| seconds.map_or("–".to_owned(), |s| text::measure(s, "s"));
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{} → {}</td><td>{}</td><td>{}</td><td>{}</td><td><strong>{}</strong></td></tr>",
            Escaped(name),
            text::moment(reaction.decision.t_s),
            reaction.decision.from,
            reaction.decision.to,
            seconds(reaction.deciding_s()),
            seconds(reaction.starting_s()),
            seconds(reaction.serving_s()),
            seconds(reaction.whole_s())
        )?;
    }
    out.write_str("</tbody>\n</table></div>\n</section>\n")
}

fn stages(out: &mut String, report: &Report<'_>) -> fmt::Result {
    if report.recording.stages.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section>\n<h2>Stages</h2>\n<div class=\"wide\" tabindex=\"0\"><table class=\"numbers\">\n<thead><tr>\
         <th scope=\"col\">stage</th><th scope=\"col\">service</th><th scope=\"col\">from</th><th scope=\"col\">to</th>\
         <th scope=\"col\">requests</th><th scope=\"col\">per second</th><th scope=\"col\">p50</th>\
         <th scope=\"col\">p95</th><th scope=\"col\">p99</th><th scope=\"col\">not answered well</th></tr></thead>\n<tbody>\n",
    )?;
    for stage in &report.recording.stages {
        let seen = report.recording.services.get(&stage.service);
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>{}</tr>",
            Escaped(&text::stage(stage)),
            Escaped(&stage.service),
            text::moment(stage.start_s),
            text::moment(stage.end_s),
            seen.map_or(String::new(), |service| stage_cells(
                service,
                stage.start_s,
                stage.end_s,
                report.recording.about.speed()
            ))
        )?;
    }
    out.write_str("</tbody>\n</table></div>\n</section>\n")
}

fn stage_cells(service: &Service, from_s: f64, to_s: f64, speed: f64) -> String {
    let load = &service.load;
    let (from, to) = (
        from_s.max(0.0).round() as usize,
        to_s.max(0.0).round() as usize,
    );
    let slots = load
        .slots
        .get(from..to.min(load.slots.len()))
        .unwrap_or_default();
    let offered: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
    let bad: u64 = slots
        .iter()
        .map(|slot| slot.counts.errors() + slot.counts.dropped)
        .sum();
    let latencies = load.latencies_of(from..to);
    let mut cells = vec![
        text::count(offered),
        text::measure(speed * offered as f64 / slots.len().max(1) as f64, ""),
    ];
    let ms = |q: f64| {
        latencies
            .quantile(q)
            .map(|latency| text::latency(latency.as_secs_f64() * 1e3))
    };
    cells.extend([0.5, 0.95, 0.99].map(|q| ms(q).unwrap_or("–".to_owned())));
    let share = if offered == 0 {
        "–".to_owned()
    } else {
        text::percent(bad as f64 / offered as f64)
    };
    cells.push(share);
    cells
        .iter()
        .map(|cell| format!("<td>{cell}</td>"))
        .collect()
}

fn events(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let events = &report.recording.events;
    if events.is_empty() {
        return Ok(());
    }
    out.write_str("<section>\n<h2>Events</h2>\n<ol class=\"events\">\n")?;
    for event in events.iter().take(EVENTS_MAX) {
        let kind = match event.kind {
            EventKind::Mark => "mark",
            EventKind::Scaled => "scaled",
            EventKind::Endpoint => "endpoint",
            EventKind::Told => "told",
        };
        let until = event.until_s.map_or(String::new(), |until_s| {
            format!(" (until {})", text::moment(until_s))
        });
        writeln!(
            out,
            "<li><span class=\"n\">{}</span> <span>{kind}</span> <span>{}{until}</span></li>",
            text::moment(event.t_s),
            Escaped(&event.text)
        )?;
    }
    out.write_str("</ol>\n")?;
    if EVENTS_MAX < events.len() {
        writeln!(
            out,
            "<p class=\"note\">{} more are in the JSON report.</p>",
            events.len() - EVENTS_MAX
        )?;
    }
    out.write_str("</section>\n")
}

fn how_to_read(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let window = match &report.recording.scenario.slo {
        Some(slo) => format!("a trailing window of {}", slo.window),
        None => "a trailing window of 10s".to_owned(),
    };
    write!(
        out,
        r#"<section>
<h2>How to read this</h2>
<dl class="reading">
<dt>Latency</dt><dd>is counted from the moment at which a request <em>should</em> have started. A request that had to wait for a slow one is as slow as it felt. Each quantile is of {window}.</dd>
<dt>Inconclusive</dt><dd>means that the experiment itself was not valid there: the load was not delivered, or nobody looked. It is neither a pass nor a failure.</dd>
<dt>Marginal</dt><dd>means that a check holds, and that its limit is as near as it could be measured: the next run may differ.</dd>
<dt>Desired, current, ready, endpoints</dt><dd>are the same pods as the HPA wants them, as it counts them, as their Deployment has them, and as clients reach them. Where one is not observed it is not drawn; that is not zero.</dd>
<dt>n*</dt><dd>is how many pods the load needed by what the scenario says that one can take.</dd>
</dl>
</section>
"#
    )
}

fn scenario(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let yaml = serde_saphyr::to_string(&report.recording.scenario);
    let yaml = yaml.unwrap_or_else(|error| format!("cannot be written as YAML: {error}"));
    write!(
        out,
        "<section>\n<h2>The scenario as it was run</h2>\n<details><summary>With all defaults filled in</summary>\n\
         <pre tabindex=\"0\"><code>{}</code></pre>\n</details>\n</section>\n",
        Escaped(yaml.trim_end())
    )
}
