//! What a cluster holds of what scales and is scaled, for a look at it: objects as the API server gives them, and what the
//! adapter answers to a read as the HPA makes it. Nothing is written. Where a right is missing, that is said and the rest
//! is read all the same.

use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use super::request::{RequestError, within_deadline};

/// Objects of one answer: a page of deployments is then about a megabyte.
const PAGE_OBJECTS: usize = 250;

/// Pages of one kind: more objects than a cluster has.
const PAGES_MAX: usize = 200;

/// Metrics that are read, at most: each is a request that the adapter answers from memory.
const READS_MAX: usize = 500;

/// The longest that all reads together may take: one by one, each of them may wait for an adapter that hangs.
const ALL_READS_MAX: Duration = Duration::from_secs(60);

/// The longest part of a refusal that is shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// The longest answer to a read of a metric.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// What is listed: its path, its group, its plural, its kind, and whether the rest can be judged without it.
const KINDS: [(&str, &str, &str, &str, bool); 6] = [
    (
        "/apis/autoscaling/v2",
        "autoscaling",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        false,
    ),
    (
        "/apis/taffrail.dev/v1alpha1",
        "taffrail.dev",
        "requestmetrics",
        "RequestMetrics",
        true,
    ),
    ("/apis/apps/v1", "apps", "deployments", "Deployment", true),
    ("/apis/apps/v1", "apps", "statefulsets", "StatefulSet", true),
    (
        "/apis/policy/v1",
        "policy",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        true,
    ),
    ("/api/v1", "", "services", "Service", true),
];

/// The APIServices that lead to an adapter, each read by its name: that is the least right.
const APISERVICES: [&str; 3] = [
    "v1beta1.external.metrics.k8s.io",
    "v1beta1.custom.metrics.k8s.io",
    "v1beta2.custom.metrics.k8s.io",
];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Objects, each with its `kind` and `apiVersion`.
    pub objects: Vec<Value>,
    /// The plurals of kinds of which nothing is missing.
    pub complete: Vec<&'static str>,
    /// What could not be read.
    pub refused: Vec<Refused>,
}

/// Something that could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What, why, and which right would allow it.
    pub message: String,
    /// Whether the rest can be judged without it.
    pub is_optional: bool,
}

/// A read of an external metric.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Question {
    /// The HPA's namespace.
    pub namespace: String,
    /// The metric's name, as it is written.
    pub metric: String,
    /// The selector in its canonical form.
    pub selector: String,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Answered {
    /// The values of its items, or a sentence.
    pub outcome: Result<Vec<f64>, String>,
    /// What `Retry-After` said.
    pub retry_after: Option<String>,
    /// Whether we may not ask, which says nothing of whether the HPA may.
    pub is_forbidden: bool,
}

/// What came of all reads.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Asked {
    /// Each question with its answer, in their order.
    pub answers: Vec<(Question, Answered)>,
    /// How many questions were not asked, or not answered in time.
    pub unasked: usize,
}

/// Reads a namespace, or all of them.
pub async fn survey(client: &Client, namespace: Option<&str>) -> Survey {
    let mut survey = Survey::default();
    for (path, group, plural, kind, is_optional) in KINDS {
        let place = match namespace {
            Some(namespace) => format!("{path}/namespaces/{namespace}/{plural}"),
            None => format!("{path}/{plural}"),
        };
        let version = path.rsplit_once('/').map_or(path, |(_, version)| version);
        let api_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        match list(client, &place).await {
            Ok((mut items, is_whole)) => {
                for item in &mut items {
                    complete(item, kind, &api_version);
                }
                survey.objects.append(&mut items);
                if is_whole {
                    survey.complete.push(plural);
                } else {
                    let message = format!(
                        "more than {} {plural}; the others are not checked",
                        PAGES_MAX * PAGE_OBJECTS
                    );
                    survey.refused.push(Refused {
                        message,
                        is_optional,
                    });
                }
            }
            Err(error) => {
                let right = match (group, namespace) {
                    ("", _) => plural.to_owned(),
                    (group, _) => format!("{plural}.{group}"),
                };
                survey
                    .refused
                    .push(refused(&error, "list", &right, namespace, is_optional));
            }
        }
    }
    for name in APISERVICES {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
        match get(client, &path).await {
            Ok(mut object) => {
                complete(&mut object, "APIService", "apiregistration.k8s.io/v1");
                survey.objects.push(object);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let right = format!("apiservices.apiregistration.k8s.io/{name}");
                survey
                    .refused
                    .push(refused(&error, "get", &right, None, true));
            }
        }
    }
    survey
}

/// Items of a list do not say what they are; and who wrote which field is of no interest, and is half of the object.
fn complete(object: &mut Value, kind: &str, api_version: &str) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("apiVersion".to_owned(), api_version.into());
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

fn refused(
    error: &RequestError,
    verb: &str,
    right: &str,
    namespace: Option<&str>,
    is_optional: bool,
) -> Refused {
    let place = namespace.map_or("in all namespaces".to_owned(), |namespace| {
        format!("in namespace {namespace}")
    });
    let message = match error {
        RequestError::Refused {
            code: 401 | 403, ..
        } => {
            format!("no right to {verb} {right} {place}; what depends on it is not checked")
        }
        error if error.is_not_found() => {
            format!("the cluster has no {right}; what depends on it is not checked")
        }
        error => format!("cannot {verb} {right} {place}: {error}"),
    };
    Refused {
        message: shortened(&message),
        is_optional,
    }
}

/// The objects of a kind, and whether these are all.
async fn list(client: &Client, place: &str) -> Result<(Vec<Value>, bool), RequestError> {
    let mut items = Vec::new();
    let mut from = String::new();
    for _ in 0..PAGES_MAX {
        let mut page = get(client, &format!("{place}?limit={PAGE_OBJECTS}{from}")).await?;
        if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        match page.pointer("/metadata/continue").and_then(Value::as_str) {
            Some(token) if !token.is_empty() => from = format!("&continue={}", encoded(token)),
            _ => return Ok((items, true)),
        }
    }
    Ok((items, false))
}

async fn get(client: &Client, path: &str) -> Result<Value, RequestError> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|_| RequestError::Unreadable)?;
    within_deadline(client.request::<Value>(request)).await
}

/// Asks the adapter as the HPA does, one question after another. What is beyond the bounds of number and time is not
/// asked, and is counted.
pub async fn ask(client: &Client, questions: Vec<Question>) -> Asked {
    ask_within(client, questions, ALL_READS_MAX).await
}

async fn ask_within(client: &Client, questions: Vec<Question>, time: Duration) -> Asked {
    let all = questions.len();
    let mut answers = Vec::new();
    let reads = async {
        for question in questions.into_iter().take(READS_MAX) {
            let answered = read(client, &question).await;
            answers.push((question, answered));
        }
    };
    // What was answered until then counts, so it is of no matter whether time ran out.
    let _ = tokio::time::timeout(time, reads).await;
    let unasked = all - answers.len();
    Asked { answers, unasked }
}

async fn read(client: &Client, question: &Question) -> Answered {
    let failed = |message: String| Answered {
        outcome: Err(shortened(&message)),
        retry_after: None,
        is_forbidden: false,
    };
    let Question {
        namespace,
        metric,
        selector,
    } = question;
    let mut path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{}",
        encoded(&metric.to_ascii_lowercase())
    );
    if !selector.is_empty() {
        path += &format!("?labelSelector={}", encoded(selector));
    }
    let Ok(request) = Request::get(path).body(Body::empty()) else {
        return failed("no such name can be asked for".to_owned());
    };
    let response = match within_deadline(client.send(request)).await {
        Ok(response) => response,
        Err(error) => return failed(error.to_string()),
    };
    let code = response.status();
    let retry_after = response
        .headers()
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(shortened);
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let bytes = match tokio::time::timeout(
        super::request::DEADLINE,
        http_body_util::BodyExt::collect(body),
    )
    .await
    {
        Ok(Ok(body)) => body.to_bytes(),
        _ => return failed("the answer did not come through".to_owned()),
    };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let outcome = if code.is_success() {
        values(&body)
    } else {
        let message = body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no message");
        Err(shortened(&format!("{} {message}", code.as_u16())))
    };
    Answered {
        outcome,
        retry_after,
        is_forbidden: matches!(code.as_u16(), 401 | 403),
    }
}

/// The numbers of an answer; none at all is an error to the HPA, too.
fn values(body: &Value) -> Result<Vec<f64>, String> {
    let items = body.get("items").and_then(Value::as_array);
    let number = |item: &Value| {
        let value = item.get("value")?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        crate::model::quantity::parse_f64(&text).ok()
    };
    let values: Vec<f64> = items.into_iter().flatten().filter_map(number).collect();
    if values.is_empty() {
        return Err("the answer has no items".to_owned());
    }
    Ok(values)
}

/// Text for a part of a URL: everything but what is safe anywhere is escaped.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

/// The beginning of a text that somebody else wrote, on one line.
fn shortened(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use serde_json::json;

    use super::*;

    /// An API server that answers paths so; where there is no answer it hangs.
    fn client(answer: impl Fn(&str) -> Option<Value> + Send + 'static) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = answer(&request.uri().to_string());
            async move {
                let Some(answer) = answer else {
                    return pending().await;
                };
                let body = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        Client::new(service, "default")
    }

    fn questions(count: usize) -> Vec<Question> {
        let question = |n: usize| Question {
            namespace: "shop".to_owned(),
            metric: format!("metric_{n}"),
            selector: String::new(),
        };
        (0..count).map(question).collect()
    }

    #[tokio::test]
    async fn what_is_more_than_a_list_holds_is_cut_and_said() {
        let pages = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&pages);
        let endless = client(move |path| {
            let is_endless = path.contains("/deployments?");
            counted.fetch_add(usize::from(is_endless), Ordering::Relaxed);
            let next = if is_endless { "on and on" } else { "" };
            Some(json!({"metadata": {"continue": next}, "items": [{"metadata": {"name": "web"}}]}))
        });
        let found = survey(&endless, Some("shop")).await;
        assert_eq!(pages.load(Ordering::Relaxed), PAGES_MAX);
        let said: Vec<&str> = found.refused.iter().map(|r| r.message.as_str()).collect();
        assert_eq!(
            said,
            ["more than 50000 deployments; the others are not checked"]
        );
        assert!(!found.complete.contains(&"deployments") && found.complete.contains(&"services"));
        assert_eq!(
            found.objects.len(),
            PAGES_MAX + KINDS.len() - 1 + APISERVICES.len()
        );
    }

    #[tokio::test]
    async fn metrics_beyond_the_number_that_is_read_are_counted() {
        let answers = client(|_| Some(json!({"items": [{"value": "3"}]})));
        let asked = ask(&answers, questions(READS_MAX + 2)).await;
        assert_eq!((asked.answers.len(), asked.unasked), (READS_MAX, 2));
        let last = &asked.answers[READS_MAX - 1];
        assert_eq!(
            (last.0.metric.as_str(), &last.1.outcome),
            ("metric_499", &Ok(vec![3.0]))
        );
    }

    #[tokio::test]
    async fn an_adapter_that_hangs_costs_what_comes_after_it_and_not_what_was_answered() {
        // A machine that stands still answers nothing in a short time.
        for time in [50, 500, 3_000].map(Duration::from_millis) {
            assert!(
                time < super::super::request::DEADLINE,
                "a request that hangs would end first"
            );
            let hangs = client(|path| {
                let is_first = path.ends_with("/metric_0");
                is_first.then(|| json!({"items": [{"value": "3"}]}))
            });
            let asked = ask_within(&hangs, questions(3), time).await;
            assert_eq!(asked.answers.len() + asked.unasked, 3);
            assert!(2 <= asked.unasked, "{asked:?}");
            if asked.unasked == 2 {
                assert_eq!(asked.answers[0].1.outcome, Ok(vec![3.0]));
                return;
            }
        }
        panic!("not even the first was answered");
    }

    #[test]
    fn a_selector_goes_into_a_url_whole() {
        assert_eq!(
            encoded("quantile=0.95,service=users"),
            "quantile%3D0.95%2Cservice%3Dusers"
        );
        assert_eq!(encoded("a in (b)"), "a%20in%20%28b%29");
    }

    #[test]
    fn an_answer_is_its_items_values() {
        let body = serde_json::json!({"items": [{"value": "412500m"}, {"value": 3}]});
        assert_eq!(values(&body), Ok(vec![412.5, 3.0]));
        assert!(values(&serde_json::json!({"items": []})).is_err());
        assert!(values(&Value::Null).is_err());
    }
}
