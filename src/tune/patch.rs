//! The recommendation as a file for `kubectl`: the whole HPA, with its reasons as comments, and the metric's window beside
//! it. What is written is read back before, so that nothing is handed out that Kubernetes would not take.

use std::fmt::Write;

use anyhow::ensure;
use serde_json::Value;

use super::Told;
use crate::config::{self, autoscaler};

/// Where a comment is folded, in columns.
const COLUMNS: usize = 100;

/// The HPA that is recommended: the one there is, where nothing better was found.
pub(super) fn hpa(told: &Told) -> Value {
    let subject = &told.known.workload.subject;
    let present = told.known.present.as_ref();
    match present.filter(|_| told.advice.keeps_present) {
        Some(present) => subject.whole(present),
        None => subject.written(&told.found.chosen.candidate),
    }
}

/// The file.
pub(super) fn yaml(told: &Told) -> anyhow::Result<String> {
    let Told {
        known,
        found,
        advice,
        ..
    } = told;
    let subject = &known.workload.subject;
    let mut text = String::new();
    for sentence in std::iter::once(&advice.headline).chain(&advice.reasons) {
        comment(&mut text, sentence);
    }
    let namespace = subject
        .namespace
        .as_deref()
        .map(|name| format!(" -n {name}"))
        .unwrap_or_default();
    comment(
        &mut text,
        &format!(
            "Apply it with `kubectl apply{namespace} -f THIS_FILE`, or change the HPA and nothing else with `kubectl patch hpa \
             {}{namespace} --patch-file THIS_FILE`.",
            subject.name
        ),
    );
    let object = hpa(told);
    let written = autoscaler::to_yaml(&object)?;
    let (spec, read) = (
        autoscaler::from_value(&object)?,
        autoscaler::from_yaml(&written)?,
    );
    ensure!(
        spec == read,
        "the HPA is read back as another one, which is a bug"
    );
    text += &written;
    let window_s = found.chosen.candidate.window_s;
    if advice.keeps_present || window_s == known.aims.window_s {
        return Ok(text);
    }
    text += "---\n";
    match whole_metrics(known.metrics.as_ref(), &known.workload.metrics(window_s)) {
        Some(document) => text += &autoscaler::to_yaml(&document)?,
        None => {
            let patch = format!(
                "# The window is in the RequestMetrics object, which is not known here as a whole:\n\
                 #   kubectl patch requestmetrics {}{namespace} --type merge -p '{{\"spec\": {{\"window\": \"{window_s}s\"}}}}'\n",
                subject.service
            );
            text += &patch;
        }
    }
    Ok(text)
}

/// The `RequestMetrics` document with its new window, if it is one that a cluster takes: whole, and without a secret
/// written into it.
fn whole_metrics(written: Option<&Value>, changed: &Value) -> Option<Value> {
    written.filter(|written| written.get("kind").is_some())?;
    let headers = changed
        .pointer("/spec/source/pods/headers")
        .and_then(Value::as_object);
    let is_written_out = |header: &Value| header.get("value").is_some();
    if headers.is_some_and(|headers| headers.values().any(is_written_out)) {
        return None;
    }
    let object = config::object(&changed.to_string()).ok()?;
    object.pods.map(|_| changed.clone())
}

/// Writing to a `String` cannot fail, so results are dropped.
fn comment(text: &mut String, sentence: &str) {
    for (n, line) in folded(sentence, COLUMNS).iter().enumerate() {
        let _ = writeln!(text, "{}{line}", if n == 0 { "# - " } else { "#   " });
    }
}

/// A sentence in lines of so many columns at most, where its words allow that. Lines that it has stay.
pub(super) fn folded(sentence: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for given in sentence.lines() {
        // What is indented is to be copied, so it stays in one piece.
        if given.starts_with(' ') {
            lines.push(given.to_owned());
            continue;
        }
        let mut line = String::new();
        for word in given.split(' ') {
            if !line.is_empty() && columns < line.chars().count() + 1 + word.chars().count() {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_folded_between_words_and_commands_are_not() {
        let folded = folded("one two three\n  a command that is long", 7);
        assert_eq!(folded, ["one two", "three", "  a command that is long"]);
    }

    #[test]
    fn a_document_with_a_secret_in_it_is_not_written() {
        let document = |headers: &str| -> Value {
            let text = format!(
                r#"{{"apiVersion": "taffrail.dev/v1alpha1", "kind": "RequestMetrics", "metadata": {{"name": "users"}},
                "spec": {{"source": {{"pods": {{"selector": {{"matchLabels": {{"app": "users"}}}}, "port": 80{headers}}}}}}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let plain = document("");
        assert_eq!(whole_metrics(Some(&plain), &plain), Some(plain.clone()));
        let secret = document(r#", "headers": {"X-Auth-Token": {"value": "hush"}}"#);
        assert_eq!(whole_metrics(Some(&secret), &secret), None);
        assert_eq!(whole_metrics(None, &plain), None);
    }
}
