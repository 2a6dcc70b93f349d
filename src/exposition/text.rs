//! The lines of a page as text. A stretch is checked at a time: checking each line by itself costs five times as much,
//! and checking the whole page is wasted on lines that nobody wants.

use std::str;

/// Bytes that are checked from a wanted line on. Wanted lines stand together, so most are already checked.
const AHEAD_BYTES: usize = 4_096;

/// A page, of which a stretch is known to be UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'p> {
    page: &'p [u8],
    checked: &'p str,
    /// Where `checked` begins in the page.
    at: usize,
}

impl<'p> Text<'p> {
    /// A page of which nothing is known.
    pub(super) fn of(page: &'p [u8]) -> Self {
        Self {
            page,
            checked: "",
            at: 0,
        }
    }

    /// The bytes from `start` to `end` as text; `None` if they are not UTF-8.
    pub(super) fn get(&mut self, start: usize, end: usize) -> Option<&'p str> {
        if let Some(line) = self.known(start, end) {
            return Some(line);
        }
        let past = end.max(start.saturating_add(AHEAD_BYTES));
        let stretch = self.page.get(start..past.min(self.page.len()))?;
        self.checked = match str::from_utf8(stretch) {
            Ok(text) => text,
            // What is wrong may lie behind this line, and a character may be cut at the stretch's end.
            Err(wrong) => str::from_utf8(&stretch[..wrong.valid_up_to()]).unwrap_or_default(),
        };
        self.at = start;
        self.known(start, end)
    }

    fn known(&self, start: usize, end: usize) -> Option<&'p str> {
        self.checked
            .get(start.checked_sub(self.at)?..end.checked_sub(self.at)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_line_is_judged_as_if_it_stood_alone(
            lines in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,40}".prop_map(String::into_bytes),
                    "é{0,3000}".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..8),
                ],
                0..12,
            ),
        ) {
            let page = lines.join(&b'\n');
            let mut text = Text::of(&page);
            let mut start = 0;
            for line in page.split(|&byte| byte == b'\n') {
                let end = start + line.len();
                prop_assert_eq!(text.get(start, end), str::from_utf8(line).ok());
                start = end + 1;
            }
        }
    }
}
