//! The labels of a sample: a stretch of the line that is checked once and walked as often as needed.
//!
//! Quotes are respected throughout, so what a client managed to put into a label's value stays in that value.

use std::hash::{DefaultHasher, Hasher};

use super::cursor::{Cursor, Quoted};
use super::line::Problem;

/// The label that holds a bucket's upper bound.
pub(super) const BOUND: &str = "le";

/// How nearly all clients write it behind other labels.
const BOUND_FOLLOWS: &str = ",le=\"";

/// A byte that no UTF-8 text holds. It keeps `a="bc"` and `ab="c"` apart in the hash.
const SEPARATOR: u8 = 0xff;

/// What stands between the braces, known to be well formed.
#[derive(Clone, Copy, Debug)]
pub struct RawLabels<'p> {
    text: &'p str,
    /// Where `text` begins in the page.
    at: usize,
    /// The label [`BOUND`], noted in passing: looking for it again would cost as much as the first reading.
    bound: Option<Extent>,
    /// Where the labels in front of the bound end, or all of them if there is none.
    before_bound: usize,
}

/// One label.
#[derive(Clone, Copy, Debug)]
pub struct Label<'p> {
    /// Its name, quoted in the page if it is not a plain one.
    pub name: Quoted<'p>,
    /// Its value.
    pub value: Quoted<'p>,
    extent: Extent,
}

/// Where a label lies in the text between the braces.
#[derive(Clone, Copy, Debug)]
struct Extent {
    start: usize,
    /// Where its value begins, behind the quote.
    value_at: usize,
    /// Behind the closing quote.
    end: usize,
}

/// Walks labels in the order of the page.
#[derive(Clone, Debug)]
pub struct Labels<'p> {
    cursor: Cursor<'p>,
}

/// A bucket's `le` as it is written, and where in the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'p> {
    pub(super) text: &'p str,
    pub(super) at: usize,
}

/// What stands before and after a bucket's bound. Equal texts are equal label sets, which spares most lines the
/// hashing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Around<'p> {
    before: &'p str,
    after: &'p str,
}

/// The labels of the line before without its bound, known to be well formed and to have no bound among them. Nearly
/// every line of a histogram has the same, and needs only to be compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'p> {
    /// From the opening brace to behind the last label's closing quote; empty if nothing is known.
    text: &'p str,
}

/// What is known of a block's labels up to some place in it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: usize,
    /// The [`Label::name_bit`] of each.
    name_bits: u64,
    /// Whether two names may be the same.
    suspicious: bool,
    bound: Option<Extent>,
    /// Where the last label other than the bound ends.
    end: usize,
}

/// A block of braces: labels, perhaps with the metric's name among them.
pub(super) struct Block<'p> {
    pub(super) labels: RawLabels<'p>,
    pub(super) name: Option<Quoted<'p>>,
    /// What another line may have in common with it.
    pub(super) known: Known<'p>,
    /// Just behind the closing brace.
    pub(super) end: usize,
}

enum Item<'p> {
    Label(Label<'p>),
    /// A quoted string without a value: the metric's name, as in `{"my.metric", x="1"} 2`.
    Name(Quoted<'p>),
}

impl<'p> RawLabels<'p> {
    /// Every label in the order of the page.
    pub fn iter(&self) -> Labels<'p> {
        Labels {
            cursor: Cursor::new(self.text, 0),
        }
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<Quoted<'p>> {
        self.iter()
            .find(|label| label.name.is(name))
            .map(|label| label.value)
    }

    /// A hash of the label set but for the label `except`, the same for any order of the labels and any way of writing
    /// them. An empty value counts as no label. SipHash with fixed keys, so it is the same in every run.
    pub fn key(&self, except: Option<&str>) -> u64 {
        self.iter()
            .filter(|label| !label.value.is_empty())
            .filter(|label| !except.is_some_and(|name| label.name.is(name)))
            .fold(0, |sum: u64, label| sum.wrapping_add(label.hash()))
    }

    /// No labels at all.
    pub(super) fn none() -> Self {
        Self {
            text: "",
            at: 0,
            bound: None,
            before_bound: 0,
        }
    }

    /// The bucket's bound.
    pub(super) fn bound(&self) -> Option<Bound<'p>> {
        self.bound.map(|label| Bound {
            text: &self.text[label.value_at..label.end - 1],
            at: self.at + label.value_at,
        })
    }

    /// What stands before and after the bound.
    pub(super) fn around_bound(&self) -> Around<'p> {
        Around {
            before: &self.text[..self.before_bound],
            after: self.bound.map_or("", |bound| &self.text[bound.end..]),
        }
    }

    fn repeats_a_name(&self) -> bool {
        self.iter().enumerate().any(|(nth, label)| {
            let name = label.name.text();
            self.iter().take(nth).any(|other| other.name.is(&name))
        })
    }
}

impl<'p> IntoIterator for &RawLabels<'p> {
    type Item = Label<'p>;
    type IntoIter = Labels<'p>;

    fn into_iter(self) -> Labels<'p> {
        self.iter()
    }
}

impl Label<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.name.hash_into(&mut hasher);
        hasher.write_u8(SEPARATOR);
        self.value.hash_into(&mut hasher);
        hasher.finish()
    }

    /// One of 64 bits that tells most names apart, so that the exact search for a repeated name is rarely needed.
    fn name_bit(&self) -> u64 {
        match self.name.raw().as_bytes() {
            [] => 1,
            name @ [first, .., last] => {
                1 << ((name.len() ^ usize::from(*first) ^ (usize::from(*last) << 1)) & 63)
            }
            [only] => 1 << (only & 63),
        }
    }
}

impl<'p> Iterator for Labels<'p> {
    type Item = Label<'p>;

    fn next(&mut self) -> Option<Label<'p>> {
        loop {
            match item(&mut self.cursor, 0) {
                Ok(Some(Item::Label(label))) => return Some(label),
                Ok(Some(Item::Name(_))) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Reads the block whose opening brace is at `open` of `line`, which begins at `line_at` of the page.
pub(super) fn block<'p>(
    line: &'p str,
    open: usize,
    line_at: usize,
    labels_max: usize,
) -> Result<Block<'p>, Problem> {
    let start = open + 1;
    let mut cursor = Cursor::new(line, start);
    let (mut seen, mut name) = (Seen::default(), None);
    while let Some(item) = item(&mut cursor, start)? {
        match item {
            Item::Name(_) if name.is_some() => return Err(Problem::Name),
            Item::Name(quoted) => name = Some(quoted),
            Item::Label(label) => seen.add(label),
        }
        if labels_max < seen.count {
            return Err(Problem::TooManyLabels);
        }
    }
    let end = cursor.at();
    if !cursor.eat(b'}') {
        return Err(Problem::Labels);
    }
    let labels = RawLabels {
        text: &line[start..end],
        at: line_at + start,
        bound: seen.bound,
        before_bound: seen.before_bound(),
    };
    if seen.suspicious && labels.repeats_a_name() {
        return Err(Problem::RepeatedLabel);
    }
    // Another line may have a bound on top of these labels.
    let is_shareable = name.is_none() && seen.end <= labels.before_bound && seen.count < labels_max;
    Ok(Block {
        labels,
        name,
        known: Known {
            text: if is_shareable {
                &labels.text[..seen.end]
            } else {
                ""
            },
        },
        end: end + 1,
    })
}

impl<'p> Known<'p> {
    /// The labels whose opening brace is at `open`, and where they end, if they are the known ones with at most a
    /// plainly written bound.
    #[inline]
    pub(super) fn labels(
        self,
        line: &'p str,
        open: usize,
        line_at: usize,
    ) -> Option<(RawLabels<'p>, usize)> {
        let start = open + 1;
        let rest = line[start..].strip_prefix(self.text)?;
        let before_bound = self.text.len();
        if before_bound == 0 {
            return None;
        }
        let (bound, length, rest) = match rest.strip_prefix(BOUND_FOLLOWS) {
            None => (None, before_bound, rest),
            Some(value) => {
                let closing = value
                    .bytes()
                    .position(|byte| matches!(byte, b'"' | b'\\'))?;
                let rest = value[closing..].strip_prefix('"')?;
                let value_at = before_bound + BOUND_FOLLOWS.len();
                let bound = Extent {
                    start: before_bound + 1,
                    value_at,
                    end: value_at + closing + 1,
                };
                (Some(bound), bound.end, rest)
            }
        };
        // Some clients put a comma behind the last label, too.
        let comma = usize::from(rest.starts_with(','));
        if !rest[comma..].starts_with('}') {
            return None;
        }
        let end = start + length + comma;
        let labels = RawLabels {
            text: &line[start..end],
            at: line_at + start,
            bound,
            before_bound,
        };
        Some((labels, end + 1))
    }
}

impl Seen {
    fn add(&mut self, label: Label<'_>) {
        let bit = label.name_bit();
        self.count += 1;
        // Two ways to escape one name have different bits, hence the suspicion of every escape.
        self.suspicious |= self.name_bits & bit != 0 || label.name.is_escaped();
        self.name_bits |= bit;
        if label.name.is(BOUND) {
            self.bound = Some(label.extent);
        } else {
            self.end = label.extent.end;
        }
    }

    /// Where the labels in front of the bound end: what separates them from it is not part of them, if it is the last.
    fn before_bound(&self) -> usize {
        self.bound
            .map_or(self.end, |bound| self.end.min(bound.start))
    }
}

/// One item and the comma after it; `None` at the closing brace or at the end. Places are counted from `origin`.
fn item<'p>(cursor: &mut Cursor<'p>, origin: usize) -> Result<Option<Item<'p>>, Problem> {
    cursor.blank();
    let start = cursor.at() - origin;
    let (name, bare) = match cursor.peek() {
        None | Some(b'}') => return Ok(None),
        Some(b'"') => (cursor.quoted(), false),
        Some(_) => (cursor.label_name(), true),
    };
    let name = name.ok_or(Problem::Labels)?;
    cursor.blank();
    let found = if cursor.eat(b'=') {
        cursor.blank();
        let value_at = cursor.at() + 1 - origin;
        let value = cursor.quoted().ok_or(Problem::Labels)?;
        Item::Label(Label {
            name,
            value,
            extent: Extent {
                start,
                value_at,
                end: cursor.at() - origin,
            },
        })
    } else if bare {
        return Err(Problem::Labels);
    } else {
        Item::Name(name)
    };
    cursor.blank();
    match cursor.peek() {
        None | Some(b'}') => {}
        Some(_) if cursor.eat(b',') => {}
        Some(_) => return Err(Problem::Labels),
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, Problem> {
        block(text, 0, 0, 8).map(|block| pairs(&block.labels))
    }

    fn pairs(labels: &RawLabels<'_>) -> Vec<(String, String)> {
        labels
            .iter()
            .map(|label| (label.name.text().into(), label.value.text().into()))
            .collect()
    }

    fn key(text: &str) -> u64 {
        block(text, 0, 0, 8).unwrap().labels.key(Some("le"))
    }

    #[test]
    fn legal_blocks_are_read_as_written() {
        for (text, expected) in [
            ("{}", &[][..]),
            ("{ }", &[]),
            (r#"{x="1,2",y="3"}"#, &[("x", "1,2"), ("y", "3")]),
            (r#"{x="k=v",y="3"}"#, &[("x", "k=v"), ("y", "3")]),
            (r#"{ x = "1" , y = "2" , }"#, &[("x", "1"), ("y", "2")]),
            ("{\tx\t=\t\"1\"\t}", &[("x", "1")]),
            (r#"{path="/o/{id}"}"#, &[("path", "/o/{id}")]),
            (
                r#"{path="/x,pod=other",code="200"}"#,
                &[("path", "/x,pod=other"), ("code", "200")],
            ),
            (r#"{a="\"\\\n"}"#, &[("a", "\"\\\n")]),
            (r#"{"my.label"="1"}"#, &[("my.label", "1")]),
            (r#"{"my.metric",x="1"}"#, &[("x", "1")]),
            (r#"{x=""}"#, &[("x", "")]),
            (r#"{x="ü\"é"}"#, &[("x", "ü\"é")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        for (text, expected) in [
            ("{", Problem::Labels),
            (r#"{x="1"#, Problem::Labels),
            (r#"{x="1""#, Problem::Labels),
            (r#"{x=1}"#, Problem::Labels),
            (r#"{x}"#, Problem::Labels),
            (r#"{="1"}"#, Problem::Labels),
            (r#"{,}"#, Problem::Labels),
            (r#"{x="1",,y="2"}"#, Problem::Labels),
            (r#"{x="1" y="2"}"#, Problem::Labels),
            (r#"{1x="1"}"#, Problem::Labels),
            (r#"{a:b="1"}"#, Problem::Labels),
            (r#"{x="1",x="2"}"#, Problem::RepeatedLabel),
            (r#"{x="1","x"="2"}"#, Problem::RepeatedLabel),
            (r#"{"a\\z"="1","a\z"="2"}"#, Problem::RepeatedLabel),
            (r#"{"a","b"}"#, Problem::Name),
            (
                r#"{a="",b="",c="",d="",e="",f="",g="",h="",i=""}"#,
                Problem::TooManyLabels,
            ),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn labels_whose_bits_collide_are_still_told_apart() {
        // `ab` and `cb` ... share length and last byte; all 26 first letters cannot have bits of their own.
        let names: Vec<String> = ('a'..='z').map(|first| format!("{first}bcd")).collect();
        let text = format!(
            "{{{}}}",
            names
                .iter()
                .map(|name| format!("{name}=\"1\""))
                .collect::<Vec<_>>()
                .join(",")
        );
        assert!(block(&text, 0, 0, 64).is_ok());
    }

    #[test]
    fn a_key_ignores_order_spelling_and_the_excepted_label() {
        let plain = key(r#"{a="1",b="2"}"#);
        for same in [
            r#"{b="2",a="1"}"#,
            r#"{ a = "1", "b"="2", }"#,
            r#"{a="1",le="0.5",b="2"}"#,
            r#"{a="1",b="2",c=""}"#,
            r#"{"a.metric",a="1",b="2"}"#,
        ] {
            assert_eq!(key(same), plain, "{same}");
        }
        for other in [
            r#"{a="1"}"#,
            r#"{a="2",b="1"}"#,
            r#"{a="1,b=2"}"#,
            r#"{ab="1",b="2"}"#,
            r#"{a="1",b="2",c="3"}"#,
        ] {
            assert_ne!(key(other), plain, "{other}");
        }
    }

    #[test]
    fn what_is_known_of_the_line_before_does_not_change_what_is_read() {
        let lines = [
            r#"{a="1",b="2",le="0.5"}"#,
            r#"{a="1",b="2",le="1"}"#,
            r#"{a="1",b="2",}"#,
            r#"{a="1",b="2",le="1",}"#,
            r#"{a="1",b="2",le="1" "#,
            r#"{a="1",b="2",le="1\\"}"#,
            r#"{a="1",b="2",le="1}"#,
            r#"{a="1",b="2",le="1",le="2"}"#,
            r#"{a="1",b="2",c="3",d="4",e="5",f="6",g="7",h="8"}"#,
            r#"{a="1",b="2",c="3",d="4",e="5",f="6",g="7",h="8",le="1"}"#,
            r#"{a="1",b="2"}"#,
            r#"{a="1",b="3"}"#,
            r#"{a="1",a="3"}"#,
            r#"{a="1",b="2",a="4"}"#,
            r#"{a="1",b="2" "#,
            r#"{le="1",a="1",b="2"}"#,
            r#"{le="1",a="1",c="2"}"#,
            r#"{le="1",a="1",le="2"}"#,
            r#"{"m",a="1",b="2"}"#,
            "{}",
            r#"{a="1",}"#,
            r#"{a="1",,b="2"}"#,
        ];
        let seen = |labels: RawLabels<'static>, end| {
            let bound = labels.bound().map(|bound| (bound.text, bound.at));
            (pairs(&labels), bound, labels.around_bound(), end)
        };
        let mut compared = 0;
        for first in lines {
            let Ok(before) = block(first, 0, 7, 8) else {
                continue;
            };
            for second in lines {
                if let Some((labels, end)) = before.known.labels(second, 0, 7) {
                    let fresh = block(second, 0, 7, 8).unwrap();
                    assert_eq!(
                        seen(labels, end),
                        seen(fresh.labels, fresh.end),
                        "{first} {second}"
                    );
                    compared += 1;
                }
            }
        }
        assert!(25 < compared, "{compared} pairs have labels in common");
    }

    #[test]
    fn the_text_around_a_label_is_that_of_the_series_without_it() {
        let around = |text| {
            let block = block(text, 0, 0, 8).unwrap();
            block.labels.around_bound()
        };
        let bare = around(r#"{a="1",b="2"}"#);
        assert_eq!(around(r#"{a="1",b="2",le="0.5"}"#), bare);
        assert_eq!(around(r#"{a="1",b="2" , le="0.5"}"#), bare);
        assert_eq!(around(r#"{a="1",b="2",}"#), bare);
        assert_ne!(around(r#"{a="1",le="0.5",b="2"}"#), bare);
        let split = around(r#"{a="1",le="0.5",b="2"}"#);
        assert_eq!(around(r#"{a="1",le="+Inf",b="2"}"#), split);
        assert_ne!(around(r#"{a="1",le="0.5",b="3"}"#), split);
    }
}
