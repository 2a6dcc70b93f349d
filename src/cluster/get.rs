//! Single reads of the API server, for a command that looks once and tells: any path, any object, nothing kept.

use serde::de::DeserializeOwned;

use super::connect::Cluster;
use super::request::{RequestError, within_deadline};

impl Cluster {
    /// What is at `path`, which begins with a slash and has everything encoded in it that a URL has to.
    ///
    /// # Errors
    /// What the API server said instead, or that it said nothing in time.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        within_deadline(self.client.request(request)).await
    }
}
