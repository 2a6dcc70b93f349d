//! The body of an answer, into a page: as it comes or unpacked, and never more of it than allowed. What is counted is
//! the unpacked page, so a small answer that unpacks to gigabytes ends at the same limit as a long one.

use std::error::Error;
use std::io::{self, ErrorKind, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt;
use hyper::body::Body;

use super::failure::{self, Progress};
use super::shared::Page;
use crate::model::health::{Failure, FailureReason};

/// Bytes of a body that are handed on at once. Deflate packs at most 1,032 to one, so between two looks at its size a
/// page grows by at most a megabyte.
const STEP_BYTES: usize = 1024;

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    Identity,
    Gzip,
}

enum Unpacker {
    Identity(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

/// A buffer that refuses to grow past its limit.
#[derive(Debug)]
struct Capped {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Coding {
    /// The packing an answer says it has.
    ///
    /// # Errors
    /// `malformed` when it was not asked for.
    pub(super) fn of(headers: &HeaderMap, gzip_wanted: bool) -> Result<Self, Failure> {
        let Some(coding) = headers.get(CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        let is = |name: &str| coding.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        if is("identity") || coding.is_empty() {
            Ok(Self::Identity)
        } else if is("gzip") && gzip_wanted {
            Ok(Self::Gzip)
        } else {
            Err(Failure::new(
                FailureReason::Malformed,
                "the page is packed (Content-Encoding) in a way that was not asked for",
            ))
        }
    }
}

/// Receives `body` into `page`.
///
/// # Errors
/// `too_large` past `bytes_max`, packed or unpacked; `disconnected` or `malformed` when it is cut short or damaged. The
/// rest of the body is then still on the connection, which is to be closed and not drained.
pub(super) async fn receive<B>(
    mut body: B,
    coding: Coding,
    bytes_max: usize,
    page: &mut Page<'_>,
    progress: &mut Progress,
) -> Result<(), Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    // Refuses at once what says that it is too large.
    if (bytes_max as u64) < body.size_hint().lower() {
        return Err(failure::too_large(bytes_max));
    }
    let mut unpacker = Unpacker::new(coding, std::mem::take(&mut page.bytes), bytes_max);
    let mut packed_bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure::cut_short(&error, unpacker.len()))?;
        let Ok(data) = frame.into_data() else {
            continue; // Trailers say nothing we want.
        };
        // Empty gzip members unpack to nothing, so the packed bytes have a limit too.
        packed_bytes += data.len();
        if bytes_max < packed_bytes {
            return Err(failure::too_large(bytes_max));
        }
        for step in data.chunks(STEP_BYTES) {
            page.room_for(unpacker.len() + step.len()).await;
            unpacker
                .write_all(step)
                .map_err(|error| damaged(&error, bytes_max))?;
        }
        *progress = Progress::Receiving(unpacker.len());
    }
    page.bytes = unpacker
        .finish()
        .map_err(|error| damaged(&error, bytes_max))?;
    Ok(())
}

impl Unpacker {
    fn new(coding: Coding, bytes: Vec<u8>, bytes_max: usize) -> Self {
        let page = Capped { bytes, bytes_max };
        match coding {
            Coding::Identity => Self::Identity(page),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(page))),
        }
    }

    /// Bytes of the page so far. Up to 32 KiB more may wait inside the decoder.
    fn len(&self) -> usize {
        match self {
            Self::Identity(page) => page.bytes.len(),
            Self::Gzip(decoder) => decoder.get_ref().bytes.len(),
        }
    }

    fn write_all(&mut self, packed: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(page) => page.write_all(packed),
            Self::Gzip(decoder) => decoder.write_all(packed),
        }
    }

    /// The whole page; an error when the packed data ends too early.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Identity(page) => Ok(page.bytes),
            Self::Gzip(decoder) => Ok(decoder.finish()?.bytes),
        }
    }
}

impl Write for Capped {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes_max - self.bytes.len() < data.len() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn damaged(error: &io::Error, bytes_max: usize) -> Failure {
    if error.kind() == ErrorKind::FileTooLarge {
        failure::too_large(bytes_max)
    } else {
        let message = "the page's gzip data is damaged or truncated";
        Failure::new(FailureReason::Malformed, message)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::stream;
    use http::HeaderValue;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::Format;
    use crate::source::scrape::shared::Shared;

    fn gzip(page: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(page).unwrap();
        encoder.finish().unwrap()
    }

    /// Receives `wire` in frames of `frame_bytes`.
    fn received(
        wire: &[u8],
        frame_bytes: usize,
        coding: Coding,
        bytes_max: usize,
    ) -> Result<Vec<u8>, Failure> {
        let frames: Vec<_> = wire
            .chunks(frame_bytes)
            .map(|data| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(data))))
            .collect();
        let shared = Shared::default();
        futures_util::FutureExt::now_or_never(async {
            let share = shared.share(&"shop".into());
            let mut page = shared.page(Format::Text, &share).await;
            let mut progress = Progress::AwaitingRoom;
            let body = StreamBody::new(stream::iter(frames));
            receive(body, coding, bytes_max, &mut page, &mut progress).await?;
            Ok(std::mem::take(&mut page.bytes))
        })
        .expect("there is room and all data is here")
    }

    proptest! {
        #[test]
        fn a_page_arrives_whole_however_it_is_cut(
            page in proptest::collection::vec(any::<u8>(), 0..5000),
            frame_bytes in 1_usize..3000,
            members in 1_usize..4,
        ) {
            let bytes_max = page.len();
            prop_assert_eq!(&received(&page, frame_bytes, Coding::Identity, bytes_max).unwrap(), &page);
            let wire: Vec<u8> = page.chunks(page.len() / members + 1).flat_map(gzip).collect();
            let wire = if page.is_empty() { gzip(&page) } else { wire };
            let bytes_max = bytes_max.max(wire.len());
            prop_assert_eq!(&received(&wire, frame_bytes, Coding::Gzip, bytes_max).unwrap(), &page);
        }

        #[test]
        fn a_gzip_page_cut_anywhere_is_refused(cut in 1_usize..60) {
            let wire = gzip(b"requests_total{path=\"/\",code=\"200\"} 12345\n# EOF\n");
            let cut = cut.min(wire.len() - 1);
            let failure = received(&wire[..wire.len() - cut], 7, Coding::Gzip, 1000).unwrap_err();
            prop_assert_eq!(failure.reason, FailureReason::Malformed);
        }
    }

    #[test]
    fn the_limit_is_exact_and_counts_unpacked_bytes() {
        let page = vec![b'7'; 100_000];
        let packed = gzip(&page);
        assert!(packed.len() < 1000);
        for (wire, coding) in [(&page, Coding::Identity), (&packed, Coding::Gzip)] {
            assert!(received(wire, 4096, coding, 100_000).is_ok());
            let failure = received(wire, 4096, coding, 99_999).unwrap_err();
            assert_eq!(failure.reason, FailureReason::TooLarge);
        }
    }

    #[test]
    fn a_flood_of_empty_members_ends_at_the_limit() {
        let failure = received(&gzip(b"").repeat(1000), 4096, Coding::Gzip, 10_000).unwrap_err();
        assert_eq!(failure.reason, FailureReason::TooLarge);
    }

    #[test]
    fn damaged_gzip_is_refused() {
        let mut wire = gzip(b"up 1\n");
        let last = wire.len() - 8;
        wire[last] ^= 1;
        for wire in [wire.as_slice(), b"up 1\n"] {
            let failure = received(wire, 4096, Coding::Gzip, 1000).unwrap_err();
            assert_eq!(failure.reason, FailureReason::Malformed);
        }
    }

    #[test]
    fn a_coding_that_was_not_asked_for_is_refused() {
        for (value, wanted, coding) in [
            (None, false, Some(Coding::Identity)),
            (Some("identity"), false, Some(Coding::Identity)),
            (Some("GZIP"), true, Some(Coding::Gzip)),
            (Some("gzip"), false, None),
            (Some("br"), true, None),
            (Some("gzip, gzip"), true, None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Coding::of(&headers, wanted).ok(), coding, "{value:?}");
        }
    }
}
