//! An error and what is behind it.

use std::error::Error;
use std::io;

/// The error, its cause, the cause's cause and so on. An I/O error that was made from another one has that one inside,
/// and its `source` would step over it.
pub fn chain<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'e (dyn Error + 'static)| {
        let inside = cause.downcast_ref().and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => (*cause).source(),
        }
    })
}

/// All of them in one sentence, but for those that one before has said already.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in chain(error).skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer")]
    struct NoAnswer(#[source] io::Error);

    #[test]
    fn what_an_io_error_wraps_is_a_cause_and_nothing_is_said_twice() {
        let refused = io::Error::other(io::Error::other("refused by hand"));
        let error = NoAnswer(refused);
        assert_eq!(chain(&error).count(), 4);
        assert_eq!(in_full(&error), "no answer: refused by hand");
    }
}
