//! What went wrong, in our words: errors of sockets, TLS and HTTP become a reason for counters and a sentence for a
//! person. No sentence holds anything the target sent, nor an address: tenants read them.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::model::cause::chain;
use crate::model::health::{Failure, FailureReason};

/// How far a scrape got; what a timeout says was being waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// Opening a connection, TLS included.
    Connecting,
    /// The request is out.
    AwaitingAnswer,
    /// The answer is a page, and too many others are being received.
    AwaitingRoom,
    /// That many bytes of the page are here, unpacked.
    Receiving(usize),
}

/// The deadline has passed.
pub(super) fn timed_out(timeout: Duration, progress: Progress) -> Failure {
    let state = match progress {
        Progress::Connecting => "there was no connection".to_owned(),
        Progress::AwaitingAnswer => "the target did not answer".to_owned(),
        Progress::AwaitingRoom => "too many other pages were being received".to_owned(),
        Progress::Receiving(bytes) => format!("only {bytes} bytes of the page had come"),
    };
    let timeout = humantime::format_duration(timeout);
    Failure::new(FailureReason::Timeout, format!("within {timeout} {state}"))
}

/// No TCP connection.
pub(super) fn not_connected(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::TimedOut => Failure::new(FailureReason::Timeout, "the host does not answer"),
        ErrorKind::ConnectionRefused => {
            Failure::new(FailureReason::Refused, "nobody listens at the port")
        }
        _ => Failure::new(FailureReason::Refused, format!("cannot connect: {error}")),
    }
}

/// No TLS on a connection that is there.
pub(super) fn no_tls(error: &io::Error) -> Failure {
    tls_within(error).unwrap_or_else(|| {
        let message = format!(
            "the connection broke during the TLS handshake: {}",
            error.kind()
        );
        Failure::new(FailureReason::Disconnected, message)
    })
}

/// No answer, or none that is HTTP.
pub(super) fn no_answer(error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        Failure::new(
            FailureReason::TooLarge,
            "the answer's headers are too large",
        )
    } else if error.is_parse() {
        Failure::new(FailureReason::Malformed, "the answer is not HTTP/1.1")
    } else {
        tls_within(error).unwrap_or_else(|| {
            let message = "the connection closed before an answer came";
            Failure::new(FailureReason::Disconnected, message)
        })
    }
}

/// The page broke off after `bytes`.
pub(super) fn cut_short(error: &(dyn Error + 'static), bytes: usize) -> Failure {
    let bad_chunk = find::<io::Error>(error).is_some_and(|cause| {
        matches!(
            cause.kind(),
            ErrorKind::InvalidInput | ErrorKind::InvalidData
        )
    });
    if bad_chunk {
        let message = format!("the page's chunks are broken after {bytes} bytes");
        return Failure::new(FailureReason::Malformed, message);
    }
    tls_within(error).unwrap_or_else(|| {
        let message = format!("the page is truncated: the connection broke after {bytes} bytes");
        Failure::new(FailureReason::Disconnected, message)
    })
}

/// The page has more than `bytes_max`.
pub(super) fn too_large(bytes_max: usize) -> Failure {
    Failure::new(
        FailureReason::TooLarge,
        format!("the page has more than the {bytes_max} bytes allowed"),
    )
}

fn tls_within(error: &(dyn Error + 'static)) -> Option<Failure> {
    use rustls::CertificateError::{BadSignature, UnknownIssuer};
    let cause = find::<rustls::Error>(error)?;
    let advice = match cause {
        // A bad signature is how an authority looks that was made anew under its old name.
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "; name the CA file that its issuer is in"
        }
        rustls::Error::InvalidMessage(_) => "; does the port speak TLS?",
        _ => "",
    };
    Some(Failure::new(FailureReason::Tls, format!("{cause}{advice}")))
}

/// The first error of a type in a chain of causes.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_error_is_found_inside_io_errors() {
        let tls = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let error = io::Error::other(io::Error::new(ErrorKind::InvalidData, tls));
        assert_eq!(no_tls(&error).reason, FailureReason::Tls);
        let error = io::Error::from(ErrorKind::UnexpectedEof);
        assert_eq!(no_tls(&error).reason, FailureReason::Disconnected);
    }

    #[test]
    fn a_host_that_cannot_be_reached_or_resolved_is_refused() {
        for (kind, reason) in [
            (ErrorKind::ConnectionRefused, FailureReason::Refused),
            (ErrorKind::HostUnreachable, FailureReason::Refused),
            (ErrorKind::NetworkUnreachable, FailureReason::Refused),
            (ErrorKind::Other, FailureReason::Refused),
            (ErrorKind::TimedOut, FailureReason::Timeout),
        ] {
            assert_eq!(not_connected(&kind.into()).reason, reason, "{kind}");
        }
    }
}
