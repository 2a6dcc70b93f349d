//! The report of a run: one HTML file that needs nothing else. No script, no font, no picture from elsewhere, so it
//! opens offline, under any content policy, and prints; the charts are SVG, drawn as all reports draw them. The same run gives the same
//! bytes. It only shows what the recording and its summary say; it computes nothing of its own.

mod page;
mod panels;

use crate::demo::timeline::Run;

/// The report of `run` as a whole HTML document.
pub fn html(run: &Run) -> String {
    let mut html = String::new();
    page::write(&mut html, run).expect("writing into a String cannot fail");
    html
}
