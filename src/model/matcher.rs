//! Series matchers of the `where` field: `route!="/healthz", code=~"2.."`, as in PromQL.
//!
//! Parsed once, when a document is read; matched against labels without copying them. Nothing here names a metric:
//! which family the matchers apply to is said elsewhere.

use std::iter::Peekable;
use std::str::CharIndices;

use regex::{Regex, RegexBuilder};

/// Matchers in one field: nobody selects series by more labels than this, and each costs time at each series.
pub const MATCHERS_MAX: usize = 16;

/// Bytes of the whole field, of which sixteen matchers need far less.
pub const SOURCE_BYTES_MAX: usize = 4096;

/// Bytes of one compiled pattern. A word class takes tens of KiB; `(\w{100}){100}` takes what it can get.
const PATTERN_COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Labels that the series of a histogram do not have, so that a matcher on them would leave out everything.
const NOT_LABELS_OF_A_SERIES: [&str; 2] = ["__name__", "le"];

/// Matchers that must all hold. Two are equal when they are written alike.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    source: String,
    matchers: Vec<Matcher>,
}

/// Why a `where` field cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at character {column}: {expected}")]
pub struct MatcherError {
    /// Where it went wrong, counted in characters from 1.
    pub column: usize,
    /// What should stand there.
    pub expected: String,
}

#[derive(Clone, Debug)]
struct Matcher {
    name: String,
    test: Test,
    /// `!=` and `!~`.
    negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(String),
    Pattern(Regex),
}

struct Parser<'s> {
    source: &'s str,
    rest: Peekable<CharIndices<'s>>,
}

impl Matchers {
    /// Parses matchers separated by commas, with or without braces around them. Nothing at all matches every series.
    ///
    /// # Errors
    /// When the text is not of that form, is beyond [`SOURCE_BYTES_MAX`] or [`MATCHERS_MAX`], or has a pattern that
    /// is not a regular expression or too large a one.
    pub fn parse(source: &str) -> Result<Self, MatcherError> {
        let mut parser = Parser {
            source,
            rest: source.char_indices().peekable(),
        };
        if SOURCE_BYTES_MAX < source.len() {
            return Err(parser.error(format!("expected at most {SOURCE_BYTES_MAX} bytes")));
        }
        let matchers = parser.matchers()?;
        Ok(Self {
            source: source.to_owned(),
            matchers,
        })
    }

    /// Whether there is nothing to match.
    pub fn is_empty(&self) -> bool {
        self.matchers.is_empty()
    }

    /// The text they were parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether labels match; `get` yields a label's value. An absent label is an empty one.
    pub fn matches<V: AsRef<str>>(&self, get: impl Fn(&str) -> Option<V>) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = get(&matcher.name);
            matcher.accepts(value.as_ref().map_or("", AsRef::as_ref))
        })
    }
}

impl PartialEq for Matchers {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Matchers {}

impl Matcher {
    fn accepts(&self, value: &str) -> bool {
        let holds = match &self.test {
            Test::Equal(expected) => value == expected,
            Test::Pattern(pattern) => pattern.is_match(value),
        };
        holds != self.negated
    }
}

impl Parser<'_> {
    fn matchers(&mut self) -> Result<Vec<Matcher>, MatcherError> {
        let mut matchers = Vec::new();
        self.blank();
        let closing = self.eat('{').then_some('}');
        loop {
            self.blank();
            if self.peek() == closing {
                break;
            }
            if MATCHERS_MAX <= matchers.len() {
                return Err(self.error(format!("expected at most {MATCHERS_MAX} matchers")));
            }
            matchers.push(self.matcher()?);
            self.blank();
            if !self.eat(',') && self.peek() != closing {
                let or_end = closing.map_or("the end", |_| "`}`");
                return Err(self.error(format!("expected `,` or {or_end}")));
            }
        }
        if closing.is_some() {
            self.rest.next();
            self.blank();
            if self.peek().is_some() {
                return Err(self.error("expected nothing after `}`"));
            }
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, MatcherError> {
        let name_error = self.error("expected a label's name");
        let name = self.name().ok_or(name_error)?;
        if NOT_LABELS_OF_A_SERIES.contains(&name.as_str()) {
            return Err(self.error(format!("expected another label: a series has no {name}")));
        }
        self.blank();
        let (negated, pattern) = self.operator()?;
        self.blank();
        let value_error = self.error(String::new());
        let value = self.string()?;
        let test = if pattern {
            Test::Pattern(compile(&value).map_err(|expected| MatcherError {
                expected,
                ..value_error
            })?)
        } else {
            Test::Equal(value)
        };
        Ok(Matcher {
            name,
            test,
            negated,
        })
    }

    /// A label's name; `None`, with nothing read that matters, if there is none.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(char) = self
            .peek()
            .filter(|char| char.is_ascii_alphanumeric() || *char == '_')
        {
            name.push(char);
            self.rest.next();
        }
        let starts_well = name.starts_with(|first: char| !first.is_ascii_digit());
        starts_well.then_some(name)
    }

    /// Whether it negates, and whether a pattern follows.
    fn operator(&mut self) -> Result<(bool, bool), MatcherError> {
        if self.eat('!') {
            if self.eat('=') {
                return Ok((true, false));
            }
            if self.eat('~') {
                return Ok((true, true));
            }
        } else if self.eat('=') {
            return Ok((false, self.eat('~')));
        }
        Err(self.error("expected `=`, `!=`, `=~` or `!~`"))
    }

    fn string(&mut self) -> Result<String, MatcherError> {
        let Some(quote) = self.peek().filter(|char| matches!(char, '"' | '\'')) else {
            return Err(self.error("expected a value in quotes"));
        };
        self.rest.next();
        let mut value = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error(format!("expected the closing {quote}"))),
                Some('\\') => {
                    self.rest.next();
                    let escaped = match self.peek() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some(char @ ('\\' | '"' | '\'')) => char,
                        _ => {
                            return Err(self.error(
                                r#"expected one of n, t, \ or a quote after `\`; a `\` itself is written `\\`"#,
                            ));
                        }
                    };
                    value.push(escaped);
                }
                Some(char) if char == quote => {
                    self.rest.next();
                    return Ok(value);
                }
                Some(char) => value.push(char),
            }
            self.rest.next();
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|(_, char)| *char)
    }

    fn eat(&mut self, char: char) -> bool {
        self.rest.next_if(|(_, next)| *next == char).is_some()
    }

    fn blank(&mut self) {
        while self
            .rest
            .next_if(|(_, next)| next.is_whitespace())
            .is_some()
        {}
    }

    /// An error at what comes next.
    fn error(&mut self, expected: impl Into<String>) -> MatcherError {
        let at = self.rest.peek().map_or(self.source.len(), |(at, _)| *at);
        MatcherError {
            column: self.source[..at].chars().count() + 1,
            expected: expected.into(),
        }
    }
}

/// A pattern that must match the whole value, in which a dot matches a line feed too: both as in Prometheus.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => "expected a smaller pattern".to_owned(),
                _ => format!("expected a regular expression, but {}", last_line(&error)),
            })
    };
    // By itself first: `a)|(b` would become valid between the parentheses.
    build(pattern)?;
    build(&format!(r"\A(?s:{pattern})\z"))
}

/// What is wrong, without the picture that the regex crate draws over several lines.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [(&str, &str); 4] = [
        ("route", "/users"),
        ("code", "204"),
        ("quoted", "a\"b\\c'd\ne"),
        ("empty", ""),
    ];

    fn matches(source: &str) -> bool {
        let matchers = Matchers::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        matchers.matches(|name| {
            LABELS
                .iter()
                .find(|(label, _)| *label == name)
                .map(|(_, value)| *value)
        })
    }

    fn error(source: &str) -> String {
        Matchers::parse(source).unwrap_err().to_string()
    }

    #[test]
    fn matchers_mean_what_they_mean_in_promql() {
        for (source, expected) in [
            ("", true),
            ("{}", true),
            (r#"route="/users""#, true),
            (r#"route="/user""#, false),
            (r#"route!="/healthz""#, true),
            (r#"route!="/users""#, false),
            (r#"code=~"2..""#, true),
            (r#"code=~"2""#, false),
            (r#"code=~"0""#, false),
            (r#"code=~"5..|2..""#, true),
            (r#"code!~"5..|2..""#, false),
            (r#"code!~"5..""#, true),
            (r#"route!="/healthz", code=~"2..""#, true),
            (r#"route="/users", code=~"5..""#, false),
            (r#"absent="""#, true),
            (r#"absent!="""#, false),
            (r#"absent=~".+""#, false),
            (r#"absent=~".*""#, true),
            (r#"absent!="x""#, true),
            (r#"empty="""#, true),
            (r#"quoted="a\"b\\c'd\ne""#, true),
            (r#"quoted='a"b\\c\'d\ne'"#, true),
            (r#"quoted=~"a.*e""#, true),
            (r#"code=~"\\d+""#, true),
            (r#" { route = "/users" , code =~ '2..' , } "#, true),
        ] {
            assert_eq!(matches(source), expected, "{source}");
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        for (source, expected) in [
            ("=", "at character 1: expected a label's name"),
            (r#"1a="x""#, "at character 1: expected a label's name"),
            (r#"a="x",,"#, "at character 7: expected a label's name"),
            ("route", "at character 6: expected `=`, `!=`, `=~` or `!~`"),
            (
                r#"route=="x""#,
                "at character 7: expected a value in quotes",
            ),
            ("route=users", "at character 7: expected a value in quotes"),
            (r#"é="x""#, "at character 1: expected a label's name"),
            (r#"a="é" b"#, "at character 7: expected `,` or the end"),
            (r#"{a="x" b"#, "at character 8: expected `,` or `}`"),
            (r#"{a="x""#, "at character 7: expected `,` or `}`"),
            (r#"{a="x"} b"#, "at character 9: expected nothing after `}`"),
            (r#"a="x"#, "at character 5: expected the closing \""),
            (
                r#"le="0.5""#,
                "at character 3: expected another label: a series has no le",
            ),
        ] {
            assert_eq!(error(source), expected, "{source}");
        }
        assert!(error(r#"a=~"\d""#).starts_with("at character 6: expected one of n, t"));
        assert!(
            error(r#"a=~"(""#)
                .starts_with("at character 4: expected a regular expression, but unclosed")
        );
        assert!(error(r#"a=~"x)|(y""#).contains("expected a regular expression"));
    }

    #[test]
    fn everything_is_bounded() {
        let many = r#"a="x","#.repeat(MATCHERS_MAX);
        assert!(Matchers::parse(&many).is_ok());
        assert!(error(&format!(r#"{many}b="y""#)).contains("at most 16 matchers"));
        assert!(error(&" ".repeat(SOURCE_BYTES_MAX + 1)).contains("at most 4096 bytes"));
        assert_eq!(
            error(r#"a=~"(\\w{100}){100}""#),
            "at character 4: expected a smaller pattern"
        );
    }

    #[test]
    fn equality_is_that_of_the_text() {
        let parse = |source| Matchers::parse(source).unwrap();
        assert_eq!(parse(r#"a="x""#), parse(r#"a="x""#));
        assert_ne!(parse(r#"a="x""#), parse(r#"a="y""#));
        assert_eq!(parse(""), Matchers::default());
        assert!(parse("{ }").is_empty());
        assert!(!parse(r#"a="x""#).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(source in ".*") {
            let _ = Matchers::parse(&source);
        }

        #[test]
        fn a_quoted_value_matches_itself(value in ".*") {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let source = format!("a=\"{escaped}\"");
            proptest::prop_assume!(source.len() <= SOURCE_BYTES_MAX);
            let matchers = Matchers::parse(&source).unwrap();
            assert!(matchers.matches(|_| Some(value.as_str())));
        }
    }
}
