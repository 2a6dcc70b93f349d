//! Secret values: where they come from, and how they stay out of logs.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::model::health::{Failure, FailureReason};

/// The most a secret file may hold: a token or a password, not a disk image mounted by mistake.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret comes from. A file is read again for every use, so a rotated one is picked up without a restart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// The content of a file, less one trailing line end.
    File(PathBuf),
    /// An environment variable's value, as it was when the configuration was loaded.
    Env(String),
    /// Written out in the configuration. For what is no secret, such as a user name.
    Literal(String),
}

impl SecretRef {
    /// The value.
    ///
    /// # Errors
    /// `unauthorized`, naming the file or the variable (never the value), when it is missing, too large or not UTF-8.
    pub fn read(&self) -> Result<SecretString, Failure> {
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
        }
    }
}

fn read_file(path: &std::path::Path) -> Result<SecretString, Failure> {
    let fail = |what: String| {
        Failure::new(
            FailureReason::Unauthorized,
            format!("secret file {}: {what}", path.display()),
        )
    };
    let size = std::fs::metadata(path)
        .map_err(|error| fail(error.to_string()))?
        .len();
    if SECRET_BYTES_MAX < size {
        return Err(fail(format!(
            "has {size} bytes, at most {SECRET_BYTES_MAX} are read"
        )));
    }
    let mut text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    if text.ends_with('\n') {
        text.truncate(text.trim_end_matches('\n').trim_end_matches('\r').len());
    }
    Ok(SecretString::from(text))
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Env(name) => write!(f, "Env({name})"),
            Self::Literal(_) => f.write_str("Literal(..)"),
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
        assert_eq!(secret.read().unwrap().expose_secret(), "&^@$");
        std::fs::write(file.path(), "rotated").unwrap();
        assert_eq!(secret.read().unwrap().expose_secret(), "rotated");
    }

    #[test]
    fn a_missing_file_is_named_and_a_literal_is_never_printed() {
        let failure = SecretRef::File("no/such/file".into()).read().unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unauthorized);
        assert!(failure.message.contains("no/such/file"));
        assert_eq!(
            format!("{:?}", SecretRef::Literal("hush".into())),
            "Literal(..)"
        );
    }
}
