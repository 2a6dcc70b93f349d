//! The recordings of real HPAs, told as the adapter would hear of them: reads of external metrics, versions of the status,
//! pods. CPU it does not hear of but in the status.

use std::fs;
use std::path::Path;

use super::*;
use crate::replay::recording::Recording;
use crate::replay::syncs::{self, Decided};

/// What an adapter would hear, by the time it is heard.
enum Heard {
    Read(Read),
    Object(Object),
}

/// How a recording came out.
#[derive(Debug, Default)]
struct Told {
    /// By [`Agreement::ALL`].
    decisions: [u64; 5],
    /// Syncs as the adapter finds them, and as a replay does.
    syncs: (usize, usize),
}

/// Seconds, as a time of the recording.
fn time(value: &Value) -> Timestamp {
    at(value.as_f64().unwrap())
}

/// What an adapter that serves external metrics alone hears of a recorded HPA. Without `reads` those went to another
/// replica.
fn heard(raw: &Value, with_reads: bool) -> Vec<(Timestamp, Heard)> {
    let mut spec = raw["hpa"].clone();
    let mut heard = Vec::new();
    let mut specs = vec![(at(f64::from(i32::MIN)), spec.clone())];
    for act in raw["acted"].as_array().unwrap() {
        if let Some(patch) = act.get("hpa") {
            merge(&mut spec, patch.get("spec").unwrap_or(patch));
            specs.push((time(&act["t"]), spec.clone()));
        }
    }
    let spec_at = |t: Timestamp| &specs.iter().rfind(|(from, _)| *from <= t).unwrap().1;
    for version in raw["status"].as_array().unwrap() {
        let t = time(&version["t"]);
        let conditions = version["conditions"].as_object().unwrap();
        let conditions = conditions.iter().map(|(kind, condition)| {
            json!({"type": kind, "status": condition[0], "reason": condition[1]})
        });
        let status = Status::of(&json!({
            "currentReplicas": version["current"], "desiredReplicas": version["desired"],
            "currentMetrics": version["metrics"], "conditions": conditions.collect::<Vec<_>>(),
        }));
        heard.push((t, Heard::Object(object(spec_at(t), status))));
    }
    for (from, spec) in specs.iter().skip(1) {
        // The status of that time; an edit does not change it.
        let earlier = heard.iter().filter_map(|(t, heard)| match heard {
            Heard::Object(object) if t <= from => Some((*t, object.status.clone())),
            _ => None,
        });
        if let Some((_, status)) = earlier.max_by_key(|(t, _)| *t) {
            heard.push((*from, Heard::Object(object(spec, status))));
        }
    }
    let reads = raw["reads"].as_array().unwrap().iter();
    for read in reads.filter(|read| with_reads && read["metric"] != "cpu") {
        heard.push((time(&read["t"]), Heard::Read(external(read))));
    }
    heard.sort_by_key(|(t, _)| *t);
    heard
}

/// A read as the API tells of it. The names of the recordings' metrics are not ours, so they are made to last.
fn external(read: &Value) -> Read {
    let milli = |value: &Value| match value {
        Value::String(text) => crate::model::quantity::parse_milli(text).unwrap(),
        Value::Number(number) => crate::model::quantity::parse_milli(&number.to_string()).unwrap(),
        _ => 0,
    };
    let answer = match &read["value"] {
        Value::Null => Err("not found".into()),
        Value::String(text) if text == "err" => Err("failed".into()),
        Value::Array(items) => Ok(items.iter().map(milli).collect()),
        value => Ok([milli(value)].into()),
    };
    Read {
        at: time(&read["t"]),
        namespace: "shop".into(),
        metric: read["metric"].as_str().unwrap().to_owned().leak(),
        selector: String::new(),
        answer: answer.map(|values_milli| Served {
            values_milli,
            oldest: None,
            state: None,
        }),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else {
        target.clone_from(patch);
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn tell(raw: &Value, with_reads: bool) -> Told {
    let recording = Recording::parse(&raw.to_string()).unwrap();
    let specs = recording.specs().unwrap();
    // The pods at any time, as a replay has them.
    let pods = |t: Timestamp| -> Option<Pods> {
        let moment = syncs::Sync {
            began: t,
            at: t,
            reads: &[],
            decided: Decided::Unclear,
        };
        let observed = syncs::observe(&recording, None, &specs[0].1, &moment);
        Some(observed.pods.into_iter().map(Arc::new).collect())
    };
    let id = users();
    let mut book = Book::new(Limits::default());
    for (t, heard) in heard(raw, with_reads) {
        book.tick(t);
        match heard {
            Heard::Object(object) => book.apply(t, &id, object, pods(t)),
            Heard::Read(read) => {
                assert_eq!(book.whose(&read), Some(&id), "{}", read.metric);
                book.read(&id, read, pods(t));
            }
        }
    }
    book.tick(at(1e9));
    let counts = book.take_counts();
    Told {
        decisions: counts.decisions,
        syncs: (book.syncs(), syncs::syncs(&recording, &specs).len()),
    }
}

fn recordings() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hpa-recordings");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    assert!(20 < files.len());
    let read = |file: &std::path::PathBuf| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        (
            name,
            serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap(),
        )
    };
    files.iter().map(read).collect()
}

fn has_cpu(raw: &Value) -> bool {
    raw["reads"]
        .as_array()
        .unwrap()
        .iter()
        .any(|read| read["metric"] == "cpu")
}

/// How all recordings of a kind come out, one after the other.
fn sum(with_reads: bool, is_of_kind: impl Fn(&Value) -> bool) -> [u64; 5] {
    let mut sums = [0; 5];
    for (name, raw) in recordings().iter().filter(|(_, raw)| is_of_kind(raw)) {
        let told = tell(raw, with_reads);
        println!("{name}: {told:?}");
        if with_reads && !has_cpu(raw) {
            let (ours, replayed) = told.syncs;
            assert_eq!(ours, replayed, "{name}: {told:?}");
        }
        for (sum, n) in sums.iter_mut().zip(told.decisions) {
            *sum += n;
        }
    }
    println!("{sums:?}");
    sums
}

#[test]
fn what_is_read_here_is_found_to_be_the_syncs_that_a_replay_finds_and_agrees() {
    let [agreed, parted, early, unseen, unclear] = sum(true, |raw| !has_cpu(raw));
    assert_eq!((early, unseen, unclear), (0, 0, 0));
    // At the edges of a window the recording's clock and the controller's differ by fractions of a second.
    assert!(1000 * parted <= agreed, "{parted} of {agreed}");
}

#[test]
fn cpu_is_made_out_from_the_status_and_where_that_fails_it_is_the_reason_given() {
    let [agreed, parted, early, unseen, unclear] = sum(true, has_cpu);
    assert_eq!((early, unclear), (0, 0));
    assert!(1000 * parted <= agreed, "{parted} of {agreed}");
    // Pods that start, or have no usage: what each of them uses is in no status.
    assert!(20 * unseen <= agreed, "{unseen} of {agreed}");
}

#[test]
fn a_replica_that_is_asked_nothing_learns_it_from_the_status() {
    let [agreed, parted, early, unseen, unclear] = sum(false, |raw| !has_cpu(raw));
    assert_eq!((early, unclear), (0, 0));
    assert!(
        20 * (parted + unseen) <= agreed,
        "{parted} and {unseen} of {agreed}"
    );
}
