//! Documents as people write them, right and wrong.

mod files;
mod objects;
mod reload;
mod right;
mod wrong;

use super::*;

/// The example of the product, with an address instead of a selector.
const USERS: &str = "\
apiVersion: taffrail.dev/v1alpha1
kind: RequestMetrics
metadata: {name: users, namespace: shop}
spec:
  source:
    pods:
      targets: [users:8080]
      histogram: http_request_duration_seconds
  window: 30s
  objective: {quantile: 0.95, latency: 250ms}
";

/// [`USERS`] with one part written otherwise.
fn users_with(part: &str, otherwise: &str) -> String {
    assert_eq!(USERS.matches(part).count(), 1, "{part}");
    USERS.replace(part, otherwise)
}

/// A document of the same service that reads Redis: `fields` are those of `spec.source.redis`, the first at line 7.
fn redis_with(fields: &[&str]) -> String {
    let fields: String = fields
        .iter()
        .map(|field| format!("      {field}\n"))
        .collect();
    format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {{name: users, namespace: shop}}\nspec:\n  source:\n    redis:\n{fields}"
    )
}

/// [`USERS`] with further fields of `spec.source.pods`, the first at line 8.
fn pods_with(fields: &[&str]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|field| format!("      {field}\n"))
        .collect();
    users_with(
        "      histogram: http_request_duration_seconds\n",
        &fields.concat(),
    )
}

fn users() -> ServiceId {
    ServiceId::new("shop", "users")
}

/// The one service of a text without problems.
fn service(text: &str) -> Service {
    let mut parsed = parse(text);
    assert_eq!(parsed.problems, [], "{text}");
    assert_eq!(parsed.services.len(), 1, "{text}");
    parsed.services.pop_first().expect("there is one").1
}

/// The problems of a text, as a person sees them.
fn problems(text: &str) -> Vec<String> {
    parse(text)
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}
