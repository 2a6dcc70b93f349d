//! Secret values: where they come from, and how they stay out of logs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

mod store;

pub use self::store::{SecretStore, Unreadable};

use secrecy::SecretString;

use crate::model::health::{Failure, FailureReason};

/// The most a secret file may hold: a token or a password, not a disk image mounted by mistake.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret comes from. A file is read again for every use, so a rotated one is picked up without a restart;
/// it is small and, mounted from a Kubernetes Secret, in memory, so reading it blocks for microseconds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// The content of a file, less one trailing line end.
    File(PathBuf),
    /// An environment variable's value, as it was when the configuration was loaded.
    Env(String),
    /// Written out in the configuration. For what is no secret, such as a user name.
    Literal(String),
    /// One key of a Kubernetes Secret, as it was last read.
    Kubernetes(SecretKey),
}

/// One key of a Kubernetes Secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretKey {
    /// The Secret's namespace: that of the object that refers to it, always.
    pub namespace: String,
    /// The Secret's name.
    pub name: String,
    /// The key within its data.
    pub key: String,
}

impl SecretRef {
    /// The value. Those of Kubernetes Secrets come from `store`.
    ///
    /// # Errors
    /// `unauthorized`, naming where the secret is (never the value), when it is missing, too large or not UTF-8.
    pub fn read(&self, store: &SecretStore) -> Result<SecretString, Failure> {
        match self {
            Self::File(path) => read_file(path),
            Self::Env(name) => crate::clock::env(name)
                .map(SecretString::from)
                .ok_or_else(|| {
                    Failure::new(
                        FailureReason::Unauthorized,
                        format!("environment variable {name} is not set"),
                    )
                }),
            Self::Literal(value) => Ok(SecretString::from(value.clone())),
            Self::Kubernetes(key) => store.get(key),
        }
    }

    /// The Kubernetes Secret, if it is one.
    pub fn kubernetes(&self) -> Option<&SecretKey> {
        match self {
            Self::Kubernetes(key) => Some(key),
            Self::File(_) | Self::Env(_) | Self::Literal(_) => None,
        }
    }
}

impl SecretKey {
    /// What somebody who may administer the namespace does so that the adapter can read this Secret and no other.
    pub fn how_to_grant(&self) -> String {
        let Self {
            namespace, name, ..
        } = self;
        format!(
            "grant it: kubectl -n {namespace} create role taffrail-{name} --verb=get --resource=secrets \
             --resource-name={name}, then kubectl -n {namespace} create rolebinding taffrail-{name} \
             --role=taffrail-{name} --serviceaccount=NAMESPACE:NAME, those of the adapter's service account"
        )
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            name,
            key,
        } = self;
        write!(f, "secret {namespace}/{name}, key {key}")
    }
}

fn read_file(path: &Path) -> Result<SecretString, Failure> {
    let fail = |what: String| {
        Failure::new(
            FailureReason::Unauthorized,
            format!("secret file {}: {what}", path.display()),
        )
    };
    let text = read_text(path).map_err(|error| fail(error.to_string()))?;
    if SECRET_BYTES_MAX < text.len() as u64 {
        return Err(fail(format!("has more than {SECRET_BYTES_MAX} bytes")));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(SecretString::from(line.strip_suffix('\r').unwrap_or(line)))
}

/// The file's text, up to one byte past the limit. A pipe would block its reader and a device has no end, so only a
/// regular file is opened.
fn read_text(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Says where the secret is, for error messages; never what it is.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Literal(_) => f.write_str("the configuration"),
            Self::Kubernetes(key) => key.fmt(f),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::Literal(_) => f.write_str("Literal(..)"),
            Self::Kubernetes(key) => write!(f, "Kubernetes({key})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end_and_again_after_rotation() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "&^@$\n").unwrap();
        let secret = SecretRef::File(file.path().to_owned());
        assert_eq!(
            secret
                .read(&SecretStore::default())
                .unwrap()
                .expose_secret(),
            "&^@$"
        );
        std::fs::write(file.path(), "rotated").unwrap();
        assert_eq!(
            secret
                .read(&SecretStore::default())
                .unwrap()
                .expose_secret(),
            "rotated"
        );
    }

    #[test]
    fn one_line_end_is_left_out_and_no_more() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, value) in [("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            std::fs::write(file.path(), content).unwrap();
            let secret = SecretRef::File(file.path().to_owned());
            assert_eq!(
                secret
                    .read(&SecretStore::default())
                    .unwrap()
                    .expose_secret(),
                value
            );
        }
    }

    #[test]
    fn what_is_too_large_or_no_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let limit = usize::try_from(SECRET_BYTES_MAX).unwrap();
        std::fs::write(file.path(), "x".repeat(limit + 1)).unwrap();
        for path in [file.path(), Path::new("/dev/zero"), Path::new("/")] {
            let failure = SecretRef::File(path.to_owned())
                .read(&SecretStore::default())
                .unwrap_err();
            assert_eq!(failure.reason, FailureReason::Unauthorized);
            assert!(!failure.message.contains("xx"));
        }
    }

    #[test]
    fn a_missing_file_is_named_and_a_literal_is_never_printed() {
        let failure = SecretRef::File("no/such/file".into())
            .read(&SecretStore::default())
            .unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unauthorized);
        assert!(failure.message.contains("no/such/file"));
        assert_eq!(
            format!("{:?}", SecretRef::Literal("hush".into())),
            "Literal(..)"
        );
        assert_eq!(
            SecretRef::Literal("hush".into()).to_string(),
            "the configuration"
        );
    }
}
