//! Reading and writing statuses at the API server: one list, and one patch of the `status` subresource for each write.

use std::sync::Arc;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::crd::{RequestMetrics, RequestMetricsStatus};
use crate::cluster::request::{RequestError, WRITER, within_deadline};
use crate::model::id::ServiceId;

/// Objects a page of a list: a page of full statuses is a megabyte or two.
const PAGE: u32 = 500;

/// An object's status as it was read; `None` where there is none, or none that can be understood.
type Read = (ServiceId, Arc<str>, Option<RequestMetricsStatus>);

/// The statuses of all objects.
#[derive(Clone)]
pub(super) struct Statuses {
    client: Client,
    /// Only metadata and status are looked at, so a spec that cannot be understood harms nobody.
    resource: ApiResource,
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is written.
    Written,
    /// There is no such object any more.
    Gone,
    /// Somebody wrote the object at the same moment, many times in a row.
    Conflict,
    /// This status is not taken: it is another object's by now, or the definition in the cluster is another version's.
    Refused(RequestError),
    /// No status would have been taken.
    Failed(RequestError),
}

// === impl Outcome ===

impl Outcome {
    /// The label of the counter.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    fn of(answer: Result<(), RequestError>) -> Self {
        match answer {
            Ok(()) => Self::Written,
            Err(error) if error.is_not_found() => Self::Gone,
            Err(error) if error.is_conflict() => Self::Conflict,
            Err(
                error @ RequestError::Refused {
                    code: 400 | 422, ..
                },
            ) => Self::Refused(error),
            Err(error) => Self::Failed(error),
        }
    }
}

// === impl Statuses ===

impl Statuses {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            resource: ApiResource::erase::<RequestMetrics>(&()),
        }
    }

    /// The statuses of all objects.
    pub(super) async fn read(&self) -> Result<Vec<Read>, RequestError> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &self.resource);
        let mut read = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = within_deadline(api.list(&params)).await?;
            read.extend(page.items.into_iter().filter_map(status_of));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(read),
            }
        }
    }

    /// Replaces the status of one object.
    pub(super) async fn write(
        &self,
        id: &ServiceId,
        uid: &str,
        status: &RequestMetricsStatus,
    ) -> Outcome {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &id.namespace, &self.resource);
        let params = PatchParams {
            field_manager: Some(WRITER.to_owned()),
            ..PatchParams::default()
        };
        let written = within_deadline(async {
            let patch =
                serde_json::from_value(patch(uid, status)).map_err(kube::Error::SerdeError)?;
            let patch = Patch::Json::<()>(patch);
            api.patch_status(&id.name, &params, &patch).await
        });
        Outcome::of(written.await.map(drop))
    }
}

/// Replaces the whole status, so that nothing stays of what no longer is, which a merge would need nulls for; and only
/// if the object is the one that this is about, not a later one of its name.
fn patch(uid: &str, status: &RequestMetricsStatus) -> Value {
    json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status", "value": status},
    ])
}

fn status_of(mut object: DynamicObject) -> Option<Read> {
    let metadata = object.metadata;
    let id = ServiceId::new(&metadata.namespace?, &metadata.name?);
    let status = object.data.get_mut("status").map(Value::take);
    let status = status.and_then(|status| serde_json::from_value(status).ok());
    Some((id, metadata.uid?.into(), status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::fixture::{at, mk_finding, mk_view, status};

    fn refused(code: u16) -> Outcome {
        Outcome::of(Err(RequestError::Refused {
            code,
            reason: String::new(),
            message: String::new(),
        }))
    }

    #[test]
    fn what_concerns_one_object_is_told_from_what_concerns_all() {
        for (code, expected) in [
            (404, "gone"),
            (409, "conflict"),
            (422, "refused"),
            (400, "refused"),
            (403, "failed"),
            (429, "failed"),
            (500, "failed"),
        ] {
            assert_eq!(refused(code).as_str(), expected, "{code}");
        }
        assert_eq!(Outcome::of(Err(RequestError::Late)).as_str(), "failed");
        assert_eq!(Outcome::of(Ok(())).as_str(), "written");
    }

    #[test]
    fn a_status_is_read_back_as_it_was_written() {
        let status = status(&mk_finding(), Some(mk_view()), None, at(1_000));
        let object = json!({
            "metadata": {"namespace": "shop", "name": "users", "uid": "u"},
            "spec": {"of": "another version"},
            "status": patch("u", &status)[1]["value"],
        });
        let object = serde_json::from_value(object).expect("an object");
        let (id, uid, read) = status_of(object).expect("a status");
        assert_eq!((id, &*uid), (ServiceId::new("shop", "users"), "u"));
        assert_eq!(read, Some(status));
    }

    #[test]
    fn a_status_that_cannot_be_understood_is_none() {
        let object = json!({
            "metadata": {"namespace": "shop", "name": "users", "uid": "u"},
            "status": {"targets": 3},
        });
        let object = serde_json::from_value(object).expect("an object");
        assert_eq!(status_of(object).and_then(|read| read.2), None);
    }
}
