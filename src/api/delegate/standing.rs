//! What was last said of the delegate, so that the log tells changes and not every request.

use std::time::{Duration, Instant};

/// The least between two changes that are logged: the delegate may refuse us in one namespace and answer in the next,
/// which is one fact and not a hundred.
const CHANGES_APART: Duration = Duration::from_secs(60);

/// How we and the delegate get on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It answers.
    Answers,
    /// It answers that it does not know us, or that we may not.
    Refuses,
    /// It does not answer, and is left alone.
    Silent,
    /// We have no token to ask it with.
    Unasked,
}

/// The last state that was logged, and when.
#[derive(Debug, Default)]
pub(super) struct Standing(Option<(State, Instant)>);

impl Standing {
    /// Whether `state` is to be logged now. A change that comes too soon is not, and is news later if it lasts.
    pub(super) fn is_news(&mut self, state: State, now: Instant) -> bool {
        let is_news = match self.0 {
            None => true,
            Some((said, at)) => said != state && at + CHANGES_APART <= now,
        };
        if is_news {
            self.0 = Some((state, now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_news_once_and_not_more_often_than_bearable() {
        let at = crate::clock::instant();
        let s = Duration::from_secs;
        let mut standing = Standing::default();
        for (after, state, expected) in [
            (s(0), State::Answers, true),
            (s(100), State::Answers, false),
            (s(101), State::Refuses, true),
            (s(102), State::Answers, false),
            (s(103), State::Refuses, false),
            (s(160), State::Answers, false),
            (s(161), State::Answers, true),
            (s(400), State::Silent, true),
        ] {
            assert_eq!(standing.is_news(state, at + after), expected, "{after:?}");
        }
    }
}
