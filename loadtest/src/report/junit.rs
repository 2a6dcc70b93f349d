//! The report for CI: JUnit XML, with a test suite for each attempt and a test case for each check. A check that could not be
//! told is an error and one that had nothing to say is skipped, so no CI takes either for a pass. Names hold no measured
//! number, so a history of runs can follow them.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Report, strip, text};
use crate::judge::{Finding, Outcome};

/// The attempts of a scenario as one document.
///
/// # Panics
///
/// Never: writing into memory cannot fail.
#[must_use]
pub fn junit(attempts: &[Report<'_>]) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    document(&mut xml, attempts).expect("writing into a Vec cannot fail");
    let mut bytes = xml.into_inner();
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("only text was written")
}

type Xml = Writer<Vec<u8>>;

fn document(xml: &mut Xml, attempts: &[Report<'_>]) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let name = attempts
        .first()
        .map_or("", |report| report.recording.scenario.name.as_str());
    xml.create_element("testsuites")
        .with_attribute(("name", clean(name).as_str()))
        .write_inner_content(|xml| attempts.iter().try_for_each(|report| suite(xml, report)))?;
    Ok(())
}

fn suite(xml: &mut Xml, report: &Report<'_>) -> io::Result<()> {
    let about = &report.recording.about;
    let name = match about.attempt {
        0 | 1 => clean(&report.recording.scenario.name),
        attempt => format!(
            "{} (attempt {attempt})",
            clean(&report.recording.scenario.name)
        ),
    };
    let count = |outcome| report.count(outcome).to_string();
    let mut suite = xml.create_element("testsuite").with_attributes([
        ("name", name.as_str()),
        ("tests", report.verdict.findings.len().to_string().as_str()),
        ("failures", count(Outcome::Fail).as_str()),
        ("errors", count(Outcome::Inconclusive).as_str()),
        ("skipped", count(Outcome::Skipped).as_str()),
        ("time", format!("{:.3}", about.duration_s).as_str()),
    ]);
    if let Some(started) = &about.started {
        suite = suite.with_attribute(("timestamp", clean(started).as_str()));
    }
    suite.write_inner_content(|xml| {
        properties(xml, report)?;
        let findings = report.verdict.findings.iter();
        findings
            .clone()
            .try_for_each(|finding| case(xml, report, finding))
    })?;
    Ok(())
}

fn properties(xml: &mut Xml, report: &Report<'_>) -> io::Result<()> {
    let recording = report.recording;
    let tier = text::tier(recording);
    let mut properties = vec![
        ("seed".to_owned(), recording.scenario.seed.to_string()),
        ("tier".to_owned(), tier.to_owned()),
        ("version".to_owned(), recording.about.version.clone()),
        (
            "verdict".to_owned(),
            text::outcome(report.verdict.outcome).to_owned(),
        ),
    ];
    properties.extend(recording.about.facts.clone());
    xml.create_element("properties")
        .write_inner_content(|xml| {
            properties.iter().try_for_each(|(name, value)| {
                let attributes = [("name", clean(name)), ("value", clean(value))];
                let attributes = attributes
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()));
                xml.create_element("property")
                    .with_attributes(attributes)
                    .write_empty()?;
                Ok(())
            })
        })?;
    Ok(())
}

fn case(xml: &mut Xml, report: &Report<'_>, finding: &Finding) -> io::Result<()> {
    let name = clean(&report.name_of(finding));
    let seconds = finding
        .from_s
        .zip(finding.to_s)
        .map_or(0.0, |(from_s, to_s)| (to_s - from_s).max(0.0));
    let case = xml.create_element("testcase").with_attributes([
        (
            "classname",
            format!("autoscale.{}", text::group(finding.group)).as_str(),
        ),
        ("name", name.as_str()),
        ("time", format!("{seconds:.3}").as_str()),
    ]);
    let message = clean(&finding.sentence);
    let element = match finding.outcome {
        Outcome::Pass => {
            let marginal = if finding.marginal { " (marginal)" } else { "" };
            let words = format!("{message}{marginal}");
            case.write_inner_content(|xml| {
                xml.create_element("system-out")
                    .write_text_content(BytesText::new(&words))?;
                Ok(())
            })?;
            return Ok(());
        }
        Outcome::Fail => "failure",
        Outcome::Inconclusive => "error",
        Outcome::Skipped => "skipped",
    };
    let strip = match finding.outcome {
        Outcome::Skipped => String::new(),
        _ => clean(&strip::strip(report.recording, finding)),
    };
    case.write_inner_content(|xml| {
        let element = xml
            .create_element(element)
            .with_attribute(("message", message.as_str()));
        if strip.is_empty() {
            element.write_empty()?;
        } else {
            element.write_text_content(BytesText::new(&strip))?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Text with only the characters that XML 1.0 allows, and none that steers a terminal; lines stay lines.
fn clean(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c if text::is_unsafe(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quick_xml::Reader;

    use super::*;
    use crate::report::fixture;

    /// Name, attributes, text.
    type Element = (String, BTreeMap<String, String>, String);

    /// Every element with its attributes and its text, in order; panics when the document is not well-formed.
    fn parsed(xml: &str) -> Vec<Element> {
        let mut reader = Reader::from_str(xml);
        let mut elements: Vec<Element> = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) => {
                    let attributes = tag.attributes().map(|attribute| {
                        let attribute = attribute.unwrap();
                        let value = attribute
                            .normalized_value(quick_xml::XmlVersion::Explicit1_0)
                            .unwrap();
                        (attribute.key.as_ref().to_owned(), value.into_owned())
                    });
                    let name = tag.name().as_ref().to_owned();
                    elements.push((name, attributes.collect(), String::new()));
                }
                Event::Text(text) => {
                    // What is before the first element is a line break.
                    if let Some(element) = elements.last_mut() {
                        element.2 += &text;
                    }
                }
                _ => {}
            }
        }
        elements
    }

    #[test]
    fn a_suite_holds_a_case_for_each_check_with_what_came_of_it() {
        let (recording, verdict) = (fixture::recording(), fixture::verdict());
        let xml = junit(&[Report {
            recording: &recording,
            verdict: &verdict,
        }]);
        let elements = parsed(&xml);
        let named = |name: &str| {
            elements
                .iter()
                .filter(|element| element.0 == name)
                .collect::<Vec<_>>()
        };
        let suite = &named("testsuite")[0].1;
        let counts = [
            "tests",
            "failures",
            "errors",
            "skipped",
            "time",
            "timestamp",
        ]
        .map(|key| suite[key].as_str());
        assert_eq!(
            counts,
            ["6", "1", "1", "1", "900.000", "2026-03-01T12:00:00Z"]
        );
        assert_eq!(named("testcase").len(), 6);
        assert_eq!(named("testcase")[1].1["classname"], "autoscale.slo");
        assert_eq!(
            named("testcase")[1].1["name"],
            "users: slo_recovery_time[high]"
        );
        let failure = named("failure")[0];
        assert!(failure.1["message"].contains("limit 30 s (± 1 s)"));
        assert!(
            failure.2.contains("rate")
                && failure.2.contains("p95")
                && failure.2.contains("desired"),
            "{}",
            failure.2
        );
        let properties: BTreeMap<_, _> = named("property")
            .iter()
            .map(|p| (p.1["name"].clone(), p.1["value"].clone()))
            .collect();
        assert_eq!(
            (
                properties["seed"].as_str(),
                properties["kubernetes"].as_str()
            ),
            ("42", "v1.36.3")
        );
    }

    #[test]
    fn text_from_outside_breaks_no_document() {
        let (mut recording, mut verdict) = (fixture::recording(), fixture::verdict());
        let hostile = "]]></failure><x a='\"&amp;\u{0}\u{1b}[2J\u{ffff}\nend";
        recording.scenario.name = hostile.to_owned();
        recording
            .about
            .facts
            .insert(hostile.to_owned(), hostile.to_owned());
        for finding in &mut verdict.findings {
            finding.name = hostile.to_owned();
            finding.sentence = hostile.to_owned();
        }
        let xml = junit(&[Report {
            recording: &recording,
            verdict: &verdict,
        }]);
        assert!(!xml.contains(['\u{0}', '\u{1b}', '\u{ffff}']));
        let elements = parsed(&xml);
        assert!(!elements.iter().any(|element| element.0 == "x"));
        let failure = elements
            .iter()
            .find(|element| element.0 == "failure")
            .unwrap();
        assert!(
            failure.1["message"].starts_with("]]></failure><x a='\"&amp;\u{fffd}\u{fffd}[2J"),
            "{failure:?}"
        );
    }

    #[test]
    fn a_retried_scenario_shows_every_attempt() {
        let (recording, verdict) = (fixture::recording(), fixture::verdict());
        let mut second = recording.clone();
        second.about.attempt = 2;
        let xml = junit(&[&recording, &second].map(|recording| Report {
            recording,
            verdict: &verdict,
        }));
        assert!(
            xml.contains("name=\"checkout-step\" tests")
                && xml.contains("name=\"checkout-step (attempt 2)\" tests")
        );
    }
}
