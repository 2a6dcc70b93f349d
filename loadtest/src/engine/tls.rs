//! TLS towards the endpoints: which authorities are trusted, and which name the certificate must have. There is no way
//! to trust just anything: a load that is sent to whoever answers would check nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::scenario::HttpVersion;

/// The protocol's name for HTTP/2, by which both ends agree on it.
const H2: &[u8] = b"h2";

/// Why TLS could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is none that a certificate can have.
    #[error("`{0}` is no name that a certificate can have; give a host name or an address")]
    Name(String),
    /// The file with the authorities could not be read.
    #[error("reading authorities from {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody would be trusted.
    #[error("the machine has no authorities; name a PEM file with those to trust")]
    NoAuthorities,
    /// The TLS library refused.
    #[error("preparing TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Whom to trust, and under which name.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    version: HttpVersion,
}

impl Tls {
    /// Trusts the authorities in the PEM file `ca`, or else the machine's, to vouch for `server_name`, and offers
    /// `version` alone.
    ///
    /// # Errors
    /// When the name or the file is not usable, or there are no authorities.
    pub fn new(server_name: &str, ca: Option<&Path>, version: HttpVersion) -> Result<Self, Error> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| Error::Name(server_name.to_owned()))?;
        let roots = match ca {
            Some(path) => from_file(path)?,
            None => of_machine()?,
        };
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![match version {
            HttpVersion::Http1 => b"http/1.1".to_vec(),
            HttpVersion::Http2 => H2.to_vec(),
        }];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
            version,
        })
    }

    /// Shakes hands. A server that does not speak HTTP/2 although it was asked for is refused.
    pub(super) async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if self.version == HttpVersion::Http2 && agreed != Some(H2) {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tls = formatter.debug_struct("Tls");
        tls.field("name", &self.name).finish_non_exhaustive()
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, Error> {
    let failed = |reason: String| Error::File {
        path: path.to_owned(),
        reason,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

fn of_machine() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // A certificate that cannot be read is one authority fewer; a machine often has an odd one.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::NoAuthorities);
    }
    Ok(roots)
}
