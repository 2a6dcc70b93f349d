//! Single fields to checked values: durations, secrets, TLS. What fields mean together is decided elsewhere.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::selector::is_dns_subdomain;
use crate::model::unit::Unit;
use crate::source::secret::{SecretKey, SecretRef};
use crate::source::tls::{Authorities, IdentityFiles, TlsSpec};

use super::document::{At, SecretKeyRef, SecretValue, Tls};

/// The longest key of a Secret, as Kubernetes validates it.
const SECRET_KEY_BYTES_MAX: usize = 253;

/// What is wrong with a field, and at which line of its document.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

/// Where a document comes from, which decides what it may name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'d> {
    /// A file: its author runs the adapter, and names whatever the adapter can reach.
    File,
    /// An object of the Kubernetes API: its author may have no more than this namespace.
    Object { namespace: &'d str },
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
pub(super) fn secret(
    field: &str,
    written: &At<SecretValue>,
    origin: Origin<'_>,
) -> Checked<SecretRef> {
    let SecretValue {
        file,
        env,
        value,
        secret_key_ref,
    } = &written.value;
    let refuse = |what: &str| Err(wrong(line_of(written), format!("{field}{what}")));
    match (origin, secret_key_ref, value, file, env) {
        (Origin::File, Some(_), ..) => refuse(".secretKeyRef needs a cluster; use file or env"),
        (Origin::File, None, None, Some(file), None) => Ok(SecretRef::File(file.into())),
        (Origin::File, None, None, None, Some(env)) => Ok(SecretRef::Env(env.clone())),
        (_, None, Some(value), None, None) => Ok(SecretRef::Literal(value.clone())),
        (Origin::File, ..) => refuse(" needs exactly one of file, env and value"),
        (Origin::Object { namespace }, Some(key), None, None, None) => {
            secret_key(field, key, namespace)
                .map(SecretRef::Kubernetes)
                .map_err(|message| wrong(line_of(written), message))
        }
        (Origin::Object { .. }, _, _, None, None) => {
            refuse(" needs exactly one of secretKeyRef and value")
        }
        (Origin::Object { .. }, ..) => {
            refuse(": an object cannot name files or variables of the adapter; use secretKeyRef")
        }
    }
}

/// One key of a Secret. The name becomes part of a path of the API, so it is nothing but a name.
fn secret_key(field: &str, written: &SecretKeyRef, namespace: &str) -> Result<SecretKey, String> {
    let SecretKeyRef { name, key } = written;
    if !is_dns_subdomain(name) {
        return Err(format!(
            "{field}.secretKeyRef.name is {name:?} and must be the name of a Secret in the same namespace"
        ));
    }
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if key.is_empty() || SECRET_KEY_BYTES_MAX < key.len() || !key.chars().all(is_key_char) {
        return Err(format!(
            "{field}.secretKeyRef.key is {key:?} and must be a key of a Secret: letters, digits, -, _ and ."
        ));
    }
    Ok(SecretKey {
        namespace: namespace.to_owned(),
        name: name.clone(),
        key: key.clone(),
    })
}

/// `seconds` or `milliseconds`.
pub(super) fn unit(field: &str, written: &At<String>) -> Checked<Unit> {
    match written.value.as_str() {
        "seconds" => Ok(Unit::Seconds),
        "milliseconds" => Ok(Unit::Milliseconds),
        other => Err(wrong(
            line_of(written),
            format!("{field} is {other:?} and must be seconds or milliseconds"),
        )),
    }
}

/// How a TLS server is verified.
pub(super) fn tls(field: &str, written: &At<Tls>, origin: Origin<'_>) -> Checked<TlsSpec> {
    let Tls {
        ca,
        ca_file,
        server_name,
        insecure_skip_verify,
        cert_file,
        key_file,
    } = &written.value;
    let refuse = |what: &str| Err(wrong(line_of(written), format!("{field}{what}")));
    let names_files = ca_file.is_some() || cert_file.is_some() || key_file.is_some();
    let authorities = match (origin, ca) {
        (Origin::File, Some(_)) => return refuse(".ca needs a cluster; use caFile"),
        (Origin::Object { .. }, _) if names_files => {
            return refuse(
                ": an object cannot name files of the adapter; use ca: {secretKeyRef: {name, key}}",
            );
        }
        (Origin::Object { namespace }, Some(ca)) => {
            let key = secret_key(&format!("{field}.ca"), &ca.secret_key_ref, namespace)
                .map_err(|message| wrong(line_of(written), message))?;
            Some(Authorities::Secret(key))
        }
        (_, None) => ca_file.as_ref().map(|file| Authorities::File(file.into())),
    };
    let identity = match (cert_file, key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(IdentityFiles {
            cert_file: cert.into(),
            key_file: key.into(),
        }),
        _ => {
            return refuse(&format!(".certFile and {field}.keyFile belong together"));
        }
    };
    Ok(TlsSpec {
        ca: authorities,
        server_name: server_name.clone(),
        insecure_skip_verify: *insecure_skip_verify,
        identity,
    })
}
