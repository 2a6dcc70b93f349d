//! What a scenario says and must not show: `${env:NAME}` is replaced only in what goes to the engine, and a secret that
//! somebody wrote down all the same is not shown in any report. It reads no environment itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Action, App, Request, Scenario};

/// What begins the name of a variable in a text.
const OPENING: &str = "${env:";

/// Where a secret was.
const REDACTED: &str = "<redacted>";

/// Headers whose values are no secrets, by their names in lower case. The value of any other may be one, whatever the
/// header is called.
const SHOWN_HEADERS: [&str; 7] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-type",
    "host",
    "user-agent",
];

/// Fields of a `RequestMetrics` document that hold one secret.
const SECRET_FIELDS: [&str; 3] = ["bearerToken", "username", "password"];

/// Fields of a `RequestMetrics` document whose own fields hold a secret each, whatever they are called.
const FIELDS_OF_SECRETS: [&str; 2] = ["headers", "basicAuth"];

/// What a secret of a `RequestMetrics` document may say of where it is, instead of what it is.
const REFERENCES: [&str; 3] = ["file", "env", "secretKeyRef"];

/// The schemes that may stand before a variable: `Bearer ${env:TOKEN}`.
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "digest"];

/// Why a scenario's variables cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment does not have it.
    #[error("{at}: the environment variable {name} is not set")]
    Missing {
        /// The field.
        at: String,
        /// The variable.
        name: String,
    },
    /// A `${env:` that does not end.
    #[error("{at}: `${{env:` has no closing brace")]
    Open {
        /// The field.
        at: String,
    },
}

impl Scenario {
    /// The scenario with its variables replaced by what `lookup` has. For the engine; never for a report.
    ///
    /// # Errors
    /// A variable that `lookup` does not have, with the field that names it.
    pub fn expand(&self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SecretError> {
        let mut expanded = self.clone();
        expanded.each_secret(|at, text, _| {
            *text = expand(&at, text, &lookup)?;
            Ok(())
        })?;
        Ok(expanded)
    }

    /// The scenario without the secrets that were written down. Variables stay as they are written.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let mut redacted = self.clone();
        let hidden: Result<(), SecretError> = redacted.each_secret(|_, text, secret| {
            if secret && !is_harmless(text) {
                REDACTED.clone_into(text);
            }
            Ok(())
        });
        debug_assert!(hidden.is_ok(), "nothing is looked up");
        let services = redacted.services.values_mut();
        for metrics in services.filter_map(|service| service.metrics.as_mut()) {
            hide_secrets(metrics);
        }
        redacted
    }

    /// Calls `change` with every text that may hold a variable, where it is, and whether it is a secret.
    fn each_secret<E>(
        &mut self,
        mut change: impl FnMut(String, &mut String, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        for (name, service) in &mut self.services {
            for request in &mut service.requests {
                let at = format!("services.{name}.requests.{}", request.name);
                each_of_request(&at, request, &mut change)?;
            }
            if let Some(app) = &mut service.app {
                each_of_app(&format!("services.{name}.app"), app, &mut change)?;
            }
        }
        for event in &mut self.events {
            if let Action::Rollout { app, .. } = &mut event.action {
                each_of_app(&format!("events.{}.app", event.name), app, &mut change)?;
            }
        }
        Ok(())
    }
}

fn each_of_request<E>(
    at: &str,
    request: &mut Request,
    change: &mut impl FnMut(String, &mut String, bool) -> Result<(), E>,
) -> Result<(), E> {
    let headers: &mut BTreeMap<String, String> = &mut request.headers;
    for (name, value) in headers {
        let secret = !SHOWN_HEADERS.contains(&name.to_lowercase().as_str());
        change(format!("{at}.headers.{name}"), value, secret)?;
    }
    match &mut request.body {
        Some(body) => change(format!("{at}.body"), body, false),
        None => Ok(()),
    }
}

fn each_of_app<E>(
    at: &str,
    app: &mut App,
    change: &mut impl FnMut(String, &mut String, bool) -> Result<(), E>,
) -> Result<(), E> {
    match &mut app.token {
        Some(token) => change(format!("{at}.token"), token, true),
        None => Ok(()),
    }
}

/// The text with its variables replaced. What replaces one is not looked at again.
fn expand(
    at: &str,
    text: &str,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<String, SecretError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once(OPENING) {
        let Some((name, after)) = variable.split_once('}') else {
            return Err(SecretError::Open { at: at.to_owned() });
        };
        let value = lookup(name).ok_or_else(|| SecretError::Missing {
            at: at.to_owned(),
            name: name.to_owned(),
        })?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Hides what is written out below the fields that hold secrets: of one `RequestMetrics` document, or of a list.
fn hide_secrets(document: &mut Value) {
    match document {
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(secrets) if FIELDS_OF_SECRETS.contains(&name.as_str()) => {
                        secrets.values_mut().for_each(hide_secret);
                    }
                    _ if FIELDS_OF_SECRETS.contains(&name.as_str()) => hide_secret(value),
                    _ if SECRET_FIELDS.contains(&name.as_str()) => hide_secret(value),
                    _ => hide_secrets(value),
                }
            }
        }
        _ => {}
    }
}

/// Hides one secret, unless it only says where it is. Nobody has checked the document's form yet, so what is in none of
/// the known forms is hidden, too.
fn hide_secret(secret: &mut Value) {
    match secret {
        Value::Object(fields) => {
            let written = fields
                .iter_mut()
                .filter(|(name, _)| !REFERENCES.contains(&name.as_str()));
            written.for_each(|(_, value)| hide_secret(value));
        }
        Value::String(text) if is_harmless(text) => {}
        Value::Null => {}
        _ => *secret = Value::String(REDACTED.to_owned()),
    }
}

/// Whether a text holds a variable, so that what it stands for is not known from the scenario alone.
#[must_use]
pub fn has_variable(text: &str) -> bool {
    text.split_once(OPENING)
        .is_some_and(|(_, variable)| variable.contains('}'))
}

/// Whether a secret's text holds nothing but variables and the word before them.
fn is_harmless(text: &str) -> bool {
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once(OPENING) {
        let Some((_, after)) = variable.split_once('}') else {
            break;
        };
        literal.push_str(before);
        rest = after;
    }
    literal.push_str(rest);
    let literal = literal.trim().to_lowercase();
    literal.is_empty() || SCHEMES.contains(&literal.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        let text = r#"
name: users
target: http://127.0.0.1:1/
requests:
  - path: /
    headers: { Authorization: "Bearer ${env:TOKEN}", X-Auth: hush, X-Session: hush, Accept: plain }
    body: 'id ${env:ID} of ${env:ID}'
app: { token: hush }
scenarios: { main: { profile: "1@1s" } }
events: [{ at: 0s, rollout: { app: { token: "${env:TOKEN}" } } }]
"#;
        Scenario::read("users.yaml", text, |_| unreachable!("it names no file")).unwrap()
    }

    #[test]
    fn variables_are_replaced_for_the_engine_and_nowhere_else() {
        let written = scenario();
        let lookup = |name: &str| (name == "TOKEN" || name == "ID").then(|| format!("<{name}>"));
        let expanded = written.expand(lookup).unwrap();
        let request = &expanded.services["users"].requests[0];
        assert_eq!(request.headers["Authorization"], "Bearer <TOKEN>");
        assert_eq!(request.body.as_deref(), Some("id <ID> of <ID>"));
        let shown = serde_json::to_string(&written.redacted()).unwrap();
        assert!(
            shown.contains("Bearer ${env:TOKEN}") && !shown.contains("<TOKEN>"),
            "{shown}"
        );
    }

    #[test]
    fn a_missing_variable_is_named_with_its_field() {
        let error = scenario()
            .expand(|name| (name == "TOKEN").then(String::new))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "services.users.requests./.body: the environment variable ID is not set"
        );
    }

    #[test]
    fn a_secret_that_was_written_down_is_not_shown() {
        let redacted = scenario().redacted();
        let shown = serde_json::to_string(&redacted).unwrap();
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("plain"), "{shown}");
        let cases = [
            ("${env:A}", true),
            ("Bearer ${env:A}", true),
            ("${env:A}${env:B}", true),
            ("abc${env:A}", false),
            ("Bearer abc", false),
            ("${env:A", false),
        ];
        for (text, harmless) in cases {
            assert_eq!(is_harmless(text), harmless, "{text}");
        }
    }

    #[test]
    fn a_secret_in_the_metrics_of_a_service_is_not_shown() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/hello.yaml");
        let hello = Scenario::load(std::path::Path::new(file)).unwrap();
        let shown = serde_json::to_string(&hello.redacted()).unwrap();
        for token in ["k7&f^Q@x$", "last-year"] {
            let written = serde_json::to_string(&hello).unwrap();
            assert!(written.contains(token) && !shown.contains(token), "{shown}");
        }
    }

    #[test]
    fn where_a_secret_of_the_metrics_is_stays_to_be_seen() {
        let mut document = serde_json::json!({"items": [{"spec": {"source": {
            "pods": {
                "port": 8080,
                "headers": {
                    "X-A": {"value": "hush"}, "X-B": {"value": "Bearer ${env:B}"}, "X-C": "hush",
                    "file": {"secretKeyRef": {"name": "tokens", "key": "c"}},
                },
                "bearerToken": {"value": "hush"},
                "basicAuth": {"username": {"value": "hush"}, "password": {"env": "PASSWORD"}},
            },
            "redis": {"address": "redis:6379", "username": "hush", "password": {"value": 1234}},
        }}}]});
        hide_secrets(&mut document);
        let expected = serde_json::json!({"items": [{"spec": {"source": {
            "pods": {
                "port": 8080,
                "headers": {
                    "X-A": {"value": REDACTED}, "X-B": {"value": "Bearer ${env:B}"}, "X-C": REDACTED,
                    "file": {"secretKeyRef": {"name": "tokens", "key": "c"}},
                },
                "bearerToken": {"value": REDACTED},
                "basicAuth": {"username": {"value": REDACTED}, "password": {"env": "PASSWORD"}},
            },
            "redis": {"address": "redis:6379", "username": REDACTED, "password": {"value": REDACTED}},
        }}}]});
        assert_eq!(document, expected);
    }
}
