//! The Kubernetes API as the adapter uses it: what is wanted (`RequestMetrics` objects and the pods they select), what
//! is told (status and events), what HPAs make of it, and what is needed to be served behind the aggregation layer (a certificate, its
//! APIService). Nothing here knows what a quantile is, and nothing of the API's reads waits for anything here.
//!
//! | room | what is in it |
//! |---|---|
//! | [`connect`] | a client, and whose address it is |
//! | `get` | single reads, for commands |
//! | [`crd`] | the `RequestMetrics` custom resource: schema, rules, status |
//! | [`discover`] | watches of objects and pods to the services wanted |
//! | `pod` | a pod, as little of it as counts: which to read, where, and in which phase it is |
//! | [`autoscalers`] | HPAs that read metrics of ours, for whoever shadows them |
//! | [`secrets`] | Secrets that objects refer to, read again so that a rotated one needs no restart |
//! | [`status`], `events` | what `kubectl get requestmetrics` shows, and what changed |
//! | [`lease`] | which replica writes status |
//! | [`certificate`] | the authority and certificate that replicas share in a Secret |
//! | [`survey`] | what there is of what scales and is scaled, for a look at it |
//! | [`api_service`] | whom the APIService leads to, and its `caBundle` |
//! | `request`, `bucket`, `jitter` | how the API server is spared: deadlines, writes a second, waits that differ |

pub mod api_service;
pub mod autoscalers;
pub mod certificate;
pub mod connect;
pub mod crd;
pub mod discover;
pub mod lease;
pub mod secrets;
pub mod status;
pub mod survey;

mod bucket;
mod events;
mod get;
mod jitter;
mod pod;
mod request;

pub use request::RequestError;
