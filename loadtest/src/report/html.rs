//! The report of a run for people: one HTML file that needs nothing else. No script, no font, no picture from elsewhere,
//! so it opens offline, under any content policy, and prints; the charts are SVG written here. The same recording gives
//! the same bytes. It shows what was recorded and found, and judges nothing. Its parts draw other reports, too.

#[cfg(test)]
mod browser;
mod canvas;
mod generator;
mod page;
mod panels;
mod series;
pub mod svg;
#[cfg(test)]
mod tests;
mod thin;

use std::fmt::{self, Write};

use super::Report;

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

/// Text that is safe between tags and inside quoted attributes.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let (plain, special) = match part.as_bytes().last() {
                Some(b'&') => (&part[..part.len() - 1], "&amp;"),
                Some(b'<') => (&part[..part.len() - 1], "&lt;"),
                Some(b'>') => (&part[..part.len() - 1], "&gt;"),
                Some(b'"') => (&part[..part.len() - 1], "&quot;"),
                Some(b'\'') => (&part[..part.len() - 1], "&#39;"),
                _ => (part, ""),
            };
            f.write_str(plain)?;
            f.write_str(special)?;
        }
        Ok(())
    }
}
