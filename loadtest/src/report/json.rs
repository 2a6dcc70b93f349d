//! The report for programs: the recording and its verdict as one JSON object, which can be read back, judged again and
//! drawn again. Its schema is published beside the code.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Report;
use crate::judge::verdict::Verdict;
use crate::profile::DURATION_MAX;
use crate::recording::{Recording, SCHEMA_VERSION};

/// What is in the file: the fields of the recording, and the verdict beside them.
#[derive(Debug, Serialize, JsonSchema)]
struct File<'a> {
    #[serde(flatten)]
    recording: &'a Recording,
    /// What was found.
    verdict: &'a Verdict,
}

/// The one field that every version has.
#[derive(Debug, Deserialize)]
struct Versioned {
    schema_version: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Judged {
    verdict: Verdict,
}

/// Why a file is no report that this program reads.
#[derive(Debug, Error)]
pub enum JsonError {
    /// It ends in the middle.
    #[error(
        "the report ends at line {line}, column {column}, before it is complete; it was not written to its end"
    )]
    Truncated {
        /// The last line, from 1.
        line: usize,
        /// The column behind its end.
        column: usize,
    },
    /// It is no JSON, or JSON of something else.
    #[error(
        "this is not a report of a run: it has no `schema_version`; give a file that `report.json` names"
    )]
    NotOurs,
    /// Another version wrote it.
    #[error(
        "the report has schema version {found}, and this program reads version {SCHEMA_VERSION}; use the version that wrote it"
    )]
    Version {
        /// What the file says.
        found: u32,
    },
    /// It claims to be a report and is not.
    #[error("the report is not as its schema says: {0}")]
    Schema(serde_json::Error),
    /// The numbers cannot be those of a run.
    #[error("no run has such numbers: {0}")]
    Unsound(String),
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        match error.is_eof() {
            true => Self::Truncated {
                line: error.line(),
                column: error.column(),
            },
            false => Self::Schema(error),
        }
    }
}

/// The report as JSON, with a line break at its end.
///
/// # Panics
///
/// Never: all that it holds has a form in JSON.
#[must_use]
pub fn json(report: &Report<'_>) -> String {
    let file = File {
        recording: report.recording,
        verdict: report.verdict,
    };
    let mut json = serde_json::to_string(&file)
        .expect("maps have strings as keys, and numbers without one are null");
    json.push('\n');
    json
}

/// The published schema of what [`json`] writes.
#[must_use]
pub fn schema() -> Schema {
    schemars::schema_for!(File<'static>)
}

/// What was seen and found, as [`json`] wrote it.
///
/// # Errors
///
/// Those of [`JsonError`].
pub fn read(json: &str) -> Result<(Recording, Verdict), JsonError> {
    let versioned: Versioned = serde_json::from_str(json).map_err(|error| {
        match error.is_eof() && json.contains("schema_version") {
            true => JsonError::from(error),
            false => JsonError::NotOurs,
        }
    })?;
    match versioned.schema_version {
        Some(SCHEMA_VERSION) => {}
        Some(found) => return Err(JsonError::Version { found }),
        None => return Err(JsonError::NotOurs),
    }
    let recording: Recording = serde_json::from_str(json)?;
    sound(&recording).map_err(JsonError::Unsound)?;
    let Judged { verdict } = serde_json::from_str(json)?;
    Ok((recording, verdict))
}

/// Whether the numbers can be those of a run. What follows adds and subtracts them.
fn sound(recording: &Recording) -> Result<(), String> {
    let longest_s = DURATION_MAX.as_secs_f64();
    if !(0.0..=longest_s).contains(&recording.about.duration_s) {
        return Err("about.duration_s is not between zero and a week".to_owned());
    }
    for (name, service) in &recording.services {
        let load = &service.load;
        if longest_s < load.slots.len() as f64 {
            return Err(format!("services.{name}.load.slots is longer than a week"));
        }
        let counts = load.slots.iter().map(|slot| (&slot.counts, slot.late));
        for (counts, late) in counts.chain([(&load.counts, load.late)]) {
            if !counts.is_sound() || counts.offered < late {
                return Err(format!(
                    "services.{name}.load has more requests of some kind than were offered"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::fixture;

    /// Where the schema is published.
    const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json");

    fn written() -> (Recording, Verdict, String) {
        let (recording, verdict) = (fixture::recording(), fixture::verdict());
        let json = json(&Report {
            recording: &recording,
            verdict: &verdict,
        });
        (recording, verdict, json)
    }

    #[test]
    fn what_was_written_reads_back() {
        let (_, verdict, json) = written();
        let (recording, found) = read(&json).unwrap();
        assert_eq!(found, verdict);
        let again = super::json(&Report {
            recording: &recording,
            verdict: &verdict,
        });
        assert!(again == json, "a report that was read is written as it was");
    }

    #[test]
    fn what_is_no_report_is_named() {
        let (_, _, json) = written();
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("{}").contains("no `schema_version`"));
        assert!(error("k6: yes").contains("not a report of a run"));
        assert!(error(&json[..json.len() / 2]).contains("before it is complete"));
        let newer = json.replacen("\"schema_version\":1", "\"schema_version\":7", 1);
        assert!(error(&newer).contains("schema version 7, and this program reads version 1"));
        let broken = json.replacen("\"attempt\":1", "\"attempt\":\"one\"", 1);
        let error = error(&broken);
        assert!(
            error.contains("not as its schema says") && error.contains("u32"),
            "{error}"
        );
    }

    #[test]
    fn the_published_schema_is_what_the_code_prints() {
        let schema = schema();
        let printed = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let published = std::fs::read_to_string(SCHEMA).unwrap_or_default();
        if published != printed {
            let new = std::env::temp_dir().join("report.schema.json");
            std::fs::write(&new, &printed).unwrap();
            panic!(
                "{SCHEMA} is not what the code prints; take {}",
                new.display()
            );
        }
    }

    #[test]
    fn a_real_report_is_as_the_schema_says() {
        let schema: Value = serde_json::to_value(schema()).unwrap();
        let (_, _, json) = written();
        let report: Value = serde_json::from_str(&json).unwrap();
        let mut wrong = Vec::new();
        check(&schema, &schema, &report, "", &mut wrong);
        assert_eq!(wrong, [""; 0]);
        let mut other = report.clone();
        other["services"]["users"]["load"]["slots"][0]["late"] = "none".into();
        other["about"].as_object_mut().unwrap().remove("duration_s");
        check(&schema, &schema, &other, "", &mut wrong);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    /// The part of JSON Schema that our types need: types, required fields, items, maps, alternatives, references.
    fn check(root: &Value, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = root.pointer(reference.trim_start_matches('#')).unwrap();
            return check(root, schema, value, path, wrong);
        }
        for choices in ["anyOf", "oneOf"]
            .into_iter()
            .filter_map(|key| schema[key].as_array())
        {
            let fits = |choice: &Value| {
                let mut wrong = Vec::new();
                check(root, choice, value, path, &mut wrong);
                wrong.is_empty()
            };
            if !choices.iter().any(fits) {
                wrong.push(format!("{path}: {value} is none of the alternatives"));
            }
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("type {other}"),
        };
        if !types.is_empty() && !types.iter().any(is) {
            return wrong.push(format!("{path}: {value} is no {types:?}"));
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if value.get(name).is_none() {
                wrong.push(format!("{path} has no {name}"));
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let schema = match &schema["properties"][name] {
                Value::Null => &schema["additionalProperties"],
                known => known,
            };
            if schema.is_object() {
                check(root, schema, value, &format!("{path}/{name}"), wrong);
            }
        }
        for (i, value) in value.as_array().into_iter().flatten().enumerate() {
            let schema = match &schema["prefixItems"][i] {
                Value::Null => &schema["items"],
                known => known,
            };
            if schema.is_object() {
                check(root, schema, value, &format!("{path}/{i}"), wrong);
            }
        }
    }
}
