//! The report of a run for people: one HTML file that needs nothing else. No script, no font, no picture from elsewhere,
//! so it opens offline, under any content policy, and prints; the charts are SVG written here. The same recording gives
//! the same bytes. It shows what was recorded and found, and judges nothing. Its parts draw other reports, too.

#[cfg(test)]
mod browser;
mod canvas;
pub mod compare;
mod generator;
mod page;
mod panels;
mod series;
pub mod svg;
#[cfg(test)]
mod tests;
mod thin;

use std::fmt::{self, Write};

use super::{Report, text};

/// The style of every report. A file of its own, so that editors know it for what it is.
const STYLE: &str = include_str!("html/style.css");

/// The report as a whole HTML document.
#[must_use]
pub fn html(report: &Report<'_>) -> String {
    let mut html = String::new();
    page::write(&mut html, report).expect("writing into a String cannot fail");
    html
}

/// Begins a document with this title. `style` is added to the style of every report.
///
/// # Errors
///
/// Those of writing into a `String`, which has none.
pub fn begin(out: &mut String, title: &str, style: &str) -> fmt::Result {
    // The policy forbids the page all that it does not need, so that even an escaping mistake could load nothing.
    write!(
        out,
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
<main>
"#,
        Escaped(title)
    )
}

/// Ends what [`begin`] began.
///
/// # Errors
///
/// As for [`begin`].
pub fn end(out: &mut String) -> fmt::Result {
    out.write_str("</main>\n</body>\n</html>\n")
}

/// Text that is safe between tags and inside quoted attributes. What would steer a terminal that the file is shown on, or
/// turn the direction of text, is shown as a replacement character.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' => f.write_char(c)?,
                c if text::is_unsafe(c) => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
