//! The selector's grammar: a scanner of tokens, and a parser that knows which token may follow which.
//!
//! It follows `Parser` and `Lexer` of `k8s.io/apimachinery/pkg/labels/selector.go`, corners included: keywords are
//! ordinary names where a key or a value is due, and an empty set holds the empty string.

use super::{Operator, Requirement};

/// The longest selector that is read. An HPA writes tens of bytes; ten requirements of the longest legal keys and
/// values fit.
pub const SELECTOR_BYTES_MAX: usize = 4096;

/// The most requirements of one selector: far above what the labels served here can distinguish.
pub const REQUIREMENTS_MAX: usize = 64;

/// The longest name part of a key, and the longest value, as Kubernetes validates labels.
const NAME_BYTES_MAX: usize = 63;

/// The longest prefix of a key: that of a DNS name.
const DNS_SUBDOMAIN_BYTES_MAX: usize = 253;

/// How much of a strange token an error repeats.
const QUOTED_CHARS_MAX: usize = 64;

/// Why a selector cannot be read, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot read the label selector at byte {at}: {message}")]
pub struct SelectorError {
    /// The offset in bytes at which it stops making sense.
    pub at: usize,
    /// What is wrong there.
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token<'t> {
    Name(&'t str),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
    End,
}

struct Parser<'t> {
    text: &'t str,
    /// The token that is due, and where it starts.
    token: Token<'t>,
    at: usize,
    /// Where the token after it may start.
    next: usize,
}

/// Reads `text` to requirements in the order written.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    if SELECTOR_BYTES_MAX < text.len() {
        let message = format!(
            "it is {} bytes long, and at most {SELECTOR_BYTES_MAX} are read",
            text.len()
        );
        return Err(error(SELECTOR_BYTES_MAX, message));
    }
    let mut parser = Parser::new(text);
    let mut requirements = Vec::new();
    if parser.token == Token::End {
        return Ok(requirements);
    }
    loop {
        if requirements.len() == REQUIREMENTS_MAX {
            return Err(error(
                parser.at,
                format!("it has more than {REQUIREMENTS_MAX} requirements"),
            ));
        }
        requirements.push(parser.requirement()?);
        match parser.token {
            Token::End => return Ok(requirements),
            Token::Comma => parser.advance(),
            _ => return Err(parser.expected("a comma or the end")),
        }
    }
}

// === impl Parser ===

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        let mut parser = Self {
            text,
            token: Token::End,
            at: 0,
            next: 0,
        };
        parser.advance();
        parser
    }

    /// Steps to the next token. At the end it stays there.
    fn advance(&mut self) {
        let rest = &self.text[self.next..];
        let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.at = self.text.len() - rest.len();
        let (token, len) = token(rest);
        self.token = token;
        self.next = self.at + len;
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let absent = self.token == Token::Not;
        if absent {
            self.advance();
        }
        let key = self.key()?;
        let operator = match self.token {
            _ if absent => Operator::DoesNotExist,
            Token::End | Token::Comma => Operator::Exists,
            _ => self.operator()?,
        };
        Ok(Requirement { key, operator })
    }

    fn key(&mut self) -> Result<String, SelectorError> {
        let Token::Name(key) = self.token else {
            return Err(self.expected("a label's key"));
        };
        if !is_key(key) {
            let message = format!(
                "{} is no label key: an optional DNS prefix and a slash, then at most {NAME_BYTES_MAX} of \
                 A-Z a-z 0-9 . _ - with a letter or digit at both ends",
                quote(key)
            );
            return Err(error(self.at, message));
        }
        self.advance();
        Ok(key.to_owned())
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let operator = self.token;
        if !matches!(
            operator,
            Token::Equal
                | Token::NotEqual
                | Token::Greater
                | Token::Less
                | Token::Name("in" | "notin")
        ) {
            return Err(self.expected("one of = == != in notin > < or a comma"));
        }
        self.advance();
        Ok(match operator {
            Token::Name("in") => Operator::In(self.set()?),
            Token::Name(_) => Operator::NotIn(self.set()?),
            Token::Equal => Operator::In(vec![self.value()?]),
            Token::Greater => Operator::GreaterThan(self.integer()?),
            Token::Less => Operator::LessThan(self.integer()?),
            _ => Operator::NotIn(vec![self.value()?]),
        })
    }

    /// `(a,b)`. An element may be empty, and so `()` holds the empty string.
    fn set(&mut self) -> Result<Vec<String>, SelectorError> {
        if self.token != Token::Open {
            return Err(self.expected("a set in parentheses"));
        }
        let mut values = Vec::new();
        loop {
            self.advance();
            values.push(self.value()?);
            match self.token {
                Token::Comma => {}
                Token::Close => break,
                _ => return Err(self.expected("a comma or a closing parenthesis")),
            }
        }
        self.advance();
        Ok(values)
    }

    /// A value, empty where none stands.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.token {
            Token::Name(value) if is_name(value) => {
                self.advance();
                Ok(value.to_owned())
            }
            Token::Name(value) => {
                let message = format!(
                    "{} is no label value: at most {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - with a letter or digit at \
                     both ends",
                    quote(value)
                );
                Err(error(self.at, message))
            }
            Token::End | Token::Comma | Token::Close => Ok(String::new()),
            _ => Err(self.expected("a value")),
        }
    }

    fn integer(&mut self) -> Result<i64, SelectorError> {
        let at = self.at;
        let value = self.value()?;
        value
            .parse()
            .map_err(|_| error(at, format!("{} is no whole number", quote(&value))))
    }

    fn expected(&self, what: &str) -> SelectorError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            _ => quote(&self.text[self.at..self.next]),
        };
        error(self.at, format!("expected {what}, found {found}"))
    }
}

/// The first token of `rest`, which does not begin with white space, and its length.
fn token(rest: &str) -> (Token<'_>, usize) {
    let bytes = rest.as_bytes();
    let twin = bytes.get(1) == Some(&b'=');
    match bytes.first() {
        None => (Token::End, 0),
        Some(b',') => (Token::Comma, 1),
        Some(b'(') => (Token::Open, 1),
        Some(b')') => (Token::Close, 1),
        Some(b'>') => (Token::Greater, 1),
        Some(b'<') => (Token::Less, 1),
        Some(b'=') => (Token::Equal, 1 + usize::from(twin)),
        Some(b'!') if twin => (Token::NotEqual, 2),
        Some(b'!') => (Token::Not, 1),
        Some(_) => {
            let ends = |c: char| ",()<>=! \t\r\n".contains(c);
            let len = rest.find(ends).unwrap_or(rest.len());
            (Token::Name(&rest[..len]), len)
        }
    }
}

/// Whether a label can have this key: `[prefix/]name`, the prefix a DNS subdomain.
pub fn is_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    is_name(name) && prefix.is_none_or(is_dns_subdomain)
}

/// Whether a label can have this value.
pub fn is_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

/// The name part of a key, or a value that is not empty.
fn is_name(name: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| inner(&b))
        && starts_and_ends(name, |b| b.is_ascii_alphanumeric())
}

/// Whether this can be the prefix of a label's key, and the name of most Kubernetes objects: labels of `a-z`, `0-9` and
/// `-`, with dots between them.
pub fn is_dns_subdomain(name: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= DNS_SUBDOMAIN_BYTES_MAX
        && name.split('.').all(|label| {
            label.bytes().all(|b| lower(b) || b == b'-') && starts_and_ends(label, lower)
        })
}

fn starts_and_ends(text: &str, with: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| with(*b)) && bytes.last().is_some_and(|b| with(*b))
}

fn quote(text: &str) -> String {
    if QUOTED_CHARS_MAX < text.chars().count() {
        let start: String = text.chars().take(QUOTED_CHARS_MAX).collect();
        return format!("{start:?}...");
    }
    format!("{text:?}")
}

fn error(at: usize, message: String) -> SelectorError {
    SelectorError { at, message }
}
