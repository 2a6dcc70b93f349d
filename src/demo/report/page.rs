//! The page around the timelines: verdict, figures, decisions, events, how to read it, the HPA, the numbers.

use std::fmt::{self, Write};

use taffrail_loadtest::report::html::{self, Escaped};

use crate::demo::report::panels;
use crate::demo::timeline::{Decision, Run, Sample, Summary, Verdict, text};

/// What the style of all reports does not have. A file of its own, so that editors know it for what it is.
const STYLE: &str = include_str!("style.css");

/// The most rows of the table of numbers; `--json` has them all.
const ROWS_MAX: usize = 300;

/// The whole document.
pub(super) fn write(out: &mut String, run: &Run) -> fmt::Result {
    let summary = Summary::of(run);
    html::begin(out, &run.title, STYLE)?;
    verdict(out, run, &summary)?;
    figures(out, &summary)?;
    timelines(out, run, &summary)?;
    decisions(out, run)?;
    events(out, run)?;
    how_to_read(out, run)?;
    hpa(out, run)?;
    numbers(out, run)?;
    html::end(out)
}

fn verdict(out: &mut String, run: &Run, summary: &Summary) -> fmt::Result {
    let (class, word) = match summary.verdict {
        Verdict::Held => ("good", "✓ Objective held"),
        Verdict::Recovered => ("good", "✓ Objective held again"),
        Verdict::NotHeld => ("bad", "✗ Objective not held"),
        Verdict::Unknown => ("bad", "? Nothing to judge"),
    };
    let badge = if run.simulated {
        r#"<p class="badge simulated">SIMULATION: time and pods are computed, nothing was measured</p>"#
    } else {
        r#"<p class="badge">Measured on one machine with real HTTP</p>"#
    };
    write!(
        out,
        "<header class=\"top\">\n{badge}\n<h1>{}</h1>\n<p class=\"verdict {class}\"><strong>{word}</strong> {}</p>\n</header>\n",
        Escaped(&run.title),
        Escaped(&summary.verdict_sentence)
    )
}

fn figures(out: &mut String, summary: &Summary) -> fmt::Result {
    out.write_str("<dl class=\"figures\">\n")?;
    for fact in &summary.facts {
        writeln!(
            out,
            "<div><dt>{}</dt><dd><strong>{}</strong> {}</dd></div>",
            Escaped(fact.name),
            Escaped(&fact.value),
            Escaped(&fact.sentence)
        )?;
    }
    out.write_str("</dl>\n")
}

fn timelines(out: &mut String, run: &Run, summary: &Summary) -> fmt::Result {
    out.write_str("<section>\n<h2>What happened, second by second</h2>\n")?;
    out.write_str(
        "<p class=\"note\">All charts share one time axis, in minutes and seconds since the start. \
         A vertical line is a decision of the HPA. Point at a chart to read its values.</p>\n<div class=\"card\">\n",
    )?;
    panels::write(out, run, summary)?;
    out.write_str("</div>\n</section>\n")
}

fn decisions(out: &mut String, run: &Run) -> fmt::Result {
    out.write_str("<section>\n<h2>Decisions of the HPA</h2>\n")?;
    if run.decisions.is_empty() {
        return out.write_str("<p>The HPA changed nothing.</p>\n</section>\n");
    }
    out.write_str(
        "<div class=\"wide\"><table class=\"decisions\">\n<thead><tr><th scope=\"col\">At</th>\
         <th scope=\"col\">Replicas</th><th scope=\"col\">Reason</th><th scope=\"col\">In words</th>\
         <th scope=\"col\">Asked for by each metric</th></tr></thead>\n<tbody>\n",
    )?;
    for decision in &run.decisions {
        let arrow = if decision.from < decision.to {
            "▲"
        } else {
            "▼"
        };
        write!(
            out,
            "<tr><td class=\"n\">{}</td><td class=\"n\"><span aria-hidden=\"true\">{arrow}</span> {} → {}</td>\
             <td><code>{}</code></td><td class=\"words\">{}</td><td>",
            text::moment(decision.t_s),
            decision.from,
            decision.to,
            Escaped(&decision.reason),
            Escaped(&decision.message)
        )?;
        proposals(out, decision)?;
        out.write_str("</td></tr>\n")?;
    }
    out.write_str("</tbody>\n</table></div>\n</section>\n")
}

fn proposals(out: &mut String, decision: &Decision) -> fmt::Result {
    for proposal in &decision.proposals {
        let replicas = proposal
            .replicas
            .map_or("unknown".to_owned(), |n| n.to_string());
        let name = Escaped(&proposal.metric);
        if decision.metric.as_ref() == Some(&proposal.metric) {
            write!(
                out,
                "<div><strong><code>{name}</code> {replicas}</strong></div>"
            )?;
        } else {
            write!(out, "<div><code>{name}</code> {replicas}</div>")?;
        }
    }
    Ok(())
}

fn events(out: &mut String, run: &Run) -> fmt::Result {
    if run.events.is_empty() {
        return Ok(());
    }
    out.write_str("<section>\n<h2>Events</h2>\n<ol class=\"events\">\n")?;
    for event in &run.events {
        writeln!(
            out,
            "<li><span class=\"n\">{}</span> {}</li>",
            text::moment(event.t_s),
            Escaped(&event.text)
        )?;
    }
    out.write_str("</ol>\n</section>\n")
}

fn how_to_read(out: &mut String, run: &Run) -> fmt::Result {
    let objective = text::objective(run.objective.quantile, run.objective.latency_ms);
    write!(
        out,
        r#"<section>
<h2>How to read this</h2>
<dl class="reading">
<dt>Latency</dt><dd>is what clients saw, counted from the moment at which a request was <em>meant</em> to be sent. A request that had to wait for a slow one is as slow as it felt. The axis turns logarithmic when latency passes 8 times the objective.</dd>
<dt>The objective</dt><dd>is {objective}; the bold curve is judged by it. A breach begins with 3 seconds in a row over it and ends with 5 in a row within it; shorter peaks are counted as seconds over the objective and are no breach.</dd>
<dt>What the HPA reads</dt><dd>is <code>request_latency_ms</code> as the adapter served it: a quantile over a window of some seconds, seen from inside the pods. So it follows the clients' curve a little later. Where it is absent the line has a gap: the HPA then keeps or raises the replicas, and never takes a missing value for 0.</dd>
<dt>Replicas wanted and ready</dt><dd>differ while pods start or drain.</dd>
<dt>What CPU alone would have asked for</dt><dd>is the HPA's rule applied to the CPU that these pods used, with the CPU metric alone. The work is the same however many pods share it, so their sum depends little on how many there were; while requests wait in line, less of it is done.</dd>
<dt>A decision's reason</dt><dd>is the word that <code>kubectl describe hpa</code> shows. In the last column the proposal that won is bold: of all metrics the highest number of replicas is taken.</dd>
</dl>
</section>
"#,
        objective = Escaped(&objective)
    )
}

fn hpa(out: &mut String, run: &Run) -> fmt::Result {
    write!(
        out,
        "<section>\n<h2>The HorizontalPodAutoscaler that decided</h2>\n<pre tabindex=\"0\"><code>{}</code></pre>\n</section>\n",
        Escaped(run.hpa_yaml.trim_end())
    )
}

fn numbers(out: &mut String, run: &Run) -> fmt::Result {
    const COLUMNS: [&str; 11] = [
        "time",
        "offered/s",
        "answered/s",
        "failed/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "HPA reads ms",
        "CPU %",
        "wanted",
        "ready",
    ];
    let share = run.samples.len().div_ceil(ROWS_MAX).max(1);
    let note = match share {
        1 => "One row a second.".to_owned(),
        n => format!("Every {n}th sample; --json has them all."),
    };
    write!(
        out,
        "<section>\n<h2>The numbers</h2>\n<details><summary>{note}</summary>\n<div class=\"wide\">\
         <table class=\"numbers\">\n<thead><tr>"
    )?;
    for column in COLUMNS {
        write!(out, "<th scope=\"col\">{column}</th>")?;
    }
    out.write_str("</tr></thead>\n<tbody>\n")?;
    run.samples
        .iter()
        .step_by(share)
        .try_for_each(|sample| row(out, sample))?;
    out.write_str("</tbody>\n</table></div>\n</details>\n</section>\n")
}

fn row(out: &mut String, sample: &Sample) -> fmt::Result {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.0}"));
    let cells = [
        text::moment(sample.t_s),
        number(Some(sample.offered_rps)),
        number(Some(sample.done_rps)),
        number(Some(sample.error_rps)),
        number(sample.p50_ms),
        number(sample.p95_ms),
        number(sample.p99_ms),
        number(sample.metric_ms),
        number(sample.cpu_utilization_percent),
        sample.replicas_spec.to_string(),
        sample.replicas_ready.to_string(),
    ];
    out.write_str("<tr>")?;
    for cell in &cells {
        write!(out, "<td>{cell}</td>")?;
    }
    out.write_str("</tr>\n")
}
