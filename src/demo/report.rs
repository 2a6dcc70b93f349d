//! The report of a run: one HTML file that needs nothing else. No script, no font, no picture from elsewhere, so it
//! opens offline, under any content policy, and prints; the charts are SVG written here. The same run gives the same
//! bytes. It only shows what the recording and its summary say; it computes nothing of its own.

mod page;
mod panels;
mod svg;

use std::fmt;

use crate::demo::timeline::Run;

/// The report of `run` as a whole HTML document.
pub fn html(run: &Run) -> String {
    let mut html = String::new();
    page::write(&mut html, run).expect("writing into a String cannot fail");
    html
}

/// Text that is safe between tags and inside quoted attributes.
struct Escaped<'a>(&'a str);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_with_a_meaning_in_html_is_escaped() {
        let text = r#"a<b>&"c'é"#;
        assert_eq!(Escaped(text).to_string(), "a&lt;b&gt;&amp;&quot;c&#39;é");
    }
}
