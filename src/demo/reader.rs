//! A client of the adapter's API that asks as the HPA controller does, over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use crate::model::quantity;
use crate::model::time::Timestamp;

/// How long one read may take: the controller sets no limit, but the API answers from memory.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the API that asks as the HPA controller does, over TLS.
#[derive(Clone)]
pub(super) struct Reader {
    client: reqwest::Client,
    base: String,
}

/// The part of an `ExternalMetricValueList` that the HPA looks at.
#[derive(Deserialize)]
struct List {
    items: Vec<ListItem>,
}

#[derive(Deserialize)]
struct ListItem {
    value: String,
    timestamp: Option<String>,
}

/// One item of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// The value in thousandths.
    pub(super) milli: i64,
    /// When it was so, by its own word.
    pub(super) at: Option<Timestamp>,
}

/// The part of a `Status` that ends up in the HPA's events.
#[derive(Deserialize)]
struct Status {
    message: String,
}

impl Reader {
    pub(super) fn new(address: SocketAddr, ca_pem: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes())?])
            .https_only(true)
            .timeout(READ_TIMEOUT)
            .no_proxy()
            .build()?;
        let base = format!("https://{address}/apis/external.metrics.k8s.io/v1beta1/namespaces");
        Ok(Self { client, base })
    }

    /// The items, or what the API says in their stead.
    pub(super) async fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &str,
    ) -> Result<Vec<Item>, String> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/{namespace}/{metric}", self.base),
            [("labelSelector", selector)],
        )
        .map_err(|error| error.to_string())?;
        let request = self
            .client
            .get(url)
            .header("Accept", "application/vnd.kubernetes.protobuf, */*");
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            let code = answer.status();
            return Err(answer
                .json::<Status>()
                .await
                .map_or_else(|_| code.to_string(), |status| status.message));
        }
        let list: List = answer.json().await.map_err(|error| error.to_string())?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        list.items.iter().map(ListItem::read).collect()
    }
}

impl ListItem {
    fn read(&self) -> Result<Item, String> {
        let at = self.timestamp.as_deref();
        let at = at.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        Ok(Item {
            milli: quantity::parse_milli(&self.value).map_err(|error| error.to_string())?,
            at: at.map(|at| Timestamp::from_ms(at.as_millisecond())),
        })
    }
}
