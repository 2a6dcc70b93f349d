//! Single fields to checked values: durations, secrets, TLS. What fields mean together is decided elsewhere.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::source::secret::SecretRef;
use crate::source::tls::{IdentityFiles, TlsSpec};

use super::document::{At, SecretValue, Tls};

/// What is wrong with a field, and at which line of its document.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

pub(super) type Checked<T> = Result<T, Wrong>;

pub(super) fn wrong(line: Option<u64>, message: impl Into<String>) -> Wrong {
    Wrong {
        line,
        message: message.into(),
    }
}

/// The line a value stands at: where an alias is used, not where its anchor is.
pub(super) fn line_of<T>(value: &At<T>) -> Option<u64> {
    Some(value.referenced.line()).filter(|line| 0 < *line)
}

/// A duration within `range`, when one is written.
pub(super) fn duration(
    field: &str,
    written: Option<&At<String>>,
    range: &RangeInclusive<Duration>,
) -> Checked<Option<Duration>> {
    written
        .map(|written| required_duration(field, written, range))
        .transpose()
}

/// A duration within `range`.
pub(super) fn required_duration(
    field: &str,
    written: &At<String>,
    range: &RangeInclusive<Duration>,
) -> Checked<Duration> {
    let text = &written.value;
    let refuse = |must: String| {
        Err(wrong(
            line_of(written),
            format!("{field} is {text:?} and {must}"),
        ))
    };
    match humantime::parse_duration(text) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        Ok(_) => refuse(format!(
            "must be from {} to {}",
            spelled(*range.start()),
            spelled(*range.end())
        )),
        Err(_) if text.parse::<f64>().is_ok_and(|number| 0.0 < number) => {
            refuse(format!("needs a unit: {text}ms or {text}s"))
        }
        Err(_) => refuse("must be a duration such as 30s or 250ms".to_owned()),
    }
}

/// A duration as people write it.
pub(super) fn spelled(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Where a secret comes from. Messages name the field; the value is never in them.
pub(super) fn secret(field: &str, written: &At<SecretValue>) -> Checked<SecretRef> {
    let SecretValue {
        file,
        env,
        value,
        secret_key_ref,
    } = &written.value;
    if secret_key_ref.is_some() {
        let message = format!("{field}.secretKeyRef needs a cluster; use file or env");
        return Err(wrong(line_of(written), message));
    }
    match (file, env, value) {
        (Some(file), None, None) => Ok(SecretRef::File(file.into())),
        (None, Some(env), None) => Ok(SecretRef::Env(env.clone())),
        (None, None, Some(value)) => Ok(SecretRef::Literal(value.clone())),
        _ => Err(wrong(
            line_of(written),
            format!("{field} needs exactly one of file, env and value"),
        )),
    }
}

/// How a TLS server is verified.
pub(super) fn tls(field: &str, written: &At<Tls>) -> Checked<TlsSpec> {
    let Tls {
        ca_file,
        server_name,
        insecure_skip_verify,
        cert_file,
        key_file,
    } = &written.value;
    let identity = match (cert_file, key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(IdentityFiles {
            cert_file: cert.into(),
            key_file: key.into(),
        }),
        _ => {
            let message = format!("{field}.certFile and {field}.keyFile belong together");
            return Err(wrong(line_of(written), message));
        }
    };
    Ok(TlsSpec {
        ca_file: ca_file.as_ref().map(Into::into),
        server_name: server_name.clone(),
        insecure_skip_verify: *insecure_skip_verify,
        identity,
    })
}
