//! HTTPS on an address of its own, for the servers that stand behind the API server's aggregation layer in tests.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::pki::{self, Pki};

/// The port of every such server.
const PORT: u16 = 443;

/// Listens on `address` with a certificate of the cluster's authority for `names`, and answers each request with a
/// status and JSON, for as long as the set lives.
pub(crate) async fn serve<A, F>(
    pki: &Pki,
    address: &str,
    names: &[&str],
    answer: A,
) -> anyhow::Result<JoinSet<()>>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = (StatusCode, Value)> + Send + 'static,
{
    let acceptor = acceptor(pki, names)?;
    let listener = TcpListener::bind((address, PORT))
        .await
        .with_context(|| format!("listening on {address}"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, acceptor, answer));
    Ok(tasks)
}

fn acceptor(pki: &Pki, names: &[&str]) -> anyhow::Result<TlsAcceptor> {
    let identity = pki.cluster.sign(&pki::server(names)?)?;
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept<A, F>(listener: TcpListener, acceptor: TlsAcceptor, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = (StatusCode, Value)> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (answer, acceptor) = (answer.clone(), acceptor.clone());
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| {
                let answered = answer(request);
                async { Ok::<_, Infallible>(response(answered.await)) }
            });
            // A connection that breaks concerns its client only.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn response((status, body): (StatusCode, Value)) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
