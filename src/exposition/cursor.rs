//! A place in a line, and the smallest tokens: blanks, names, quoted strings.
//!
//! Everything is a slice of the line. A quoted string keeps its escapes and is compared, hashed or copied unescaped.

use std::borrow::Cow;
use std::hash::Hasher;

use memchr::{memchr, memchr2};

/// A string as the page has it, without its quotes, or a bare name.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'p> {
    raw: &'p str,
    escaped: bool,
}

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'p> {
    text: &'p str,
    at: usize,
}

impl<'p> Quoted<'p> {
    /// A name that stands without quotes.
    pub(super) fn bare(raw: &'p str) -> Self {
        Self {
            raw,
            escaped: false,
        }
    }

    /// The bytes between the quotes, escapes and all.
    pub fn raw(self) -> &'p str {
        self.raw
    }

    /// The text itself. It is copied only when it holds an escape.
    pub fn text(self) -> Cow<'p, str> {
        if self.escaped {
            Cow::Owned(self.pieces().collect())
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Whether the text is `other`, without copying it.
    pub fn is(self, other: &str) -> bool {
        if !self.escaped {
            return self.raw == other;
        }
        let mut rest = other;
        for piece in self.pieces() {
            let Some(after) = rest.strip_prefix(piece) else {
                return false;
            };
            rest = after;
        }
        rest.is_empty()
    }

    /// Whether the text is empty, which in this format says the same as an absent label.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Whether the raw form holds a backslash.
    pub(super) fn is_escaped(self) -> bool {
        self.escaped
    }

    /// Feeds the text to a hasher, without copying it.
    pub(super) fn hash_into(self, hasher: &mut impl Hasher) {
        if !self.escaped {
            return hasher.write(self.raw.as_bytes());
        }
        for piece in self.pieces() {
            hasher.write(piece.as_bytes());
        }
    }

    /// The text in stretches of the page. An unknown escape stands for itself, backslash included, as in Prometheus.
    fn pieces(self) -> impl Iterator<Item = &'p str> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (piece, consumed) = match (memchr(b'\\', rest.as_bytes()), rest.as_bytes().get(1)) {
                _ if rest.is_empty() => return None,
                (Some(0), Some(b'n')) => ("\n", 2),
                (Some(0), Some(b'"')) => ("\"", 2),
                (Some(0), Some(b'\\')) => ("\\", 2),
                (Some(0), _) => ("\\", 1),
                (Some(literal), _) => (&rest[..literal], literal),
                (None, _) => (rest, rest.len()),
            };
            rest = &rest[consumed..];
            Some(piece)
        })
    }
}

impl<'p> Cursor<'p> {
    /// A cursor at `at`, which lies on a character boundary of `text`.
    pub(super) fn new(text: &'p str, at: usize) -> Self {
        Self { text, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over `byte` (an ASCII one) if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Steps over spaces and tabs, and says whether there was one.
    pub(super) fn blank(&mut self) -> bool {
        let start = self.at;
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
        start < self.at
    }

    /// The characters up to a blank or the end of the line; empty when there are none.
    pub(super) fn word(&mut self) -> &'p str {
        self.take_while(|byte| byte != b' ' && byte != b'\t')
    }

    /// A bare label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub(super) fn label_name(&mut self) -> Option<Quoted<'p>> {
        let name = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let starts_well = !name.is_empty() && !name.as_bytes()[0].is_ascii_digit();
        starts_well.then_some(Quoted::bare(name))
    }

    /// A string in double quotes; `None` when it does not begin here or never ends.
    pub(super) fn quoted(&mut self) -> Option<Quoted<'p>> {
        if !self.eat(b'"') {
            return None;
        }
        let bytes = self.text.as_bytes();
        let (start, mut escaped) = (self.at, false);
        loop {
            let found = self.at + memchr2(b'"', b'\\', bytes.get(self.at..)?)?;
            if bytes[found] == b'"' {
                self.at = found + 1;
                let raw = &self.text[start..found];
                return Some(Quoted { raw, escaped });
            }
            // The byte after the backslash may begin a longer character; its other bytes are neither quote nor backslash.
            escaped = true;
            self.at = found + 2;
        }
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'p str {
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .position(|byte| !belongs(byte))
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Option<Quoted<'_>> {
        Cursor::new(text, 0).quoted()
    }

    #[test]
    fn the_three_escapes_are_undone_and_others_stand_for_themselves() {
        for (source, expected) in [
            (r#""""#, ""),
            (r#""plain""#, "plain"),
            (r#""a\"b""#, "a\"b"),
            (r#""a\\b""#, "a\\b"),
            (r#""a\nb""#, "a\nb"),
            (r#""\\n""#, "\\n"),
            (r#""a\xb""#, "a\\xb"),
            (r#""\é""#, "\\é"),
            (r#""}{,=#" rest"#, "}{,=#"),
        ] {
            let string = quoted(source).unwrap();
            assert_eq!(string.text(), expected, "{source}");
            assert!(string.is(expected), "{source}");
            assert!(!string.is("something else"), "{source}");
        }
    }

    #[test]
    fn a_prefix_is_not_the_whole() {
        let string = quoted(r#""a\"b""#).unwrap();
        assert!(!string.is("a\""));
        assert!(!string.is("a\"bc"));
    }

    #[test]
    fn a_string_without_an_end_is_none() {
        for source in ["", "\"", "\"abc", r#""abc\""#, r#""abc\"#, "abc"] {
            assert!(quoted(source).is_none(), "{source}");
        }
    }

    #[test]
    fn the_same_text_hashes_alike_however_it_is_written() {
        let hash = |source| {
            let mut hasher = std::hash::DefaultHasher::new();
            quoted(source).unwrap().hash_into(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(r#""a\xb""#), hash(r#""a\\xb""#));
        assert_ne!(hash(r#""a\nb""#), hash(r#""a\\nb""#));
    }
}
