//! Where the demo is shown: a live picture on a terminal, lines elsewhere.

use std::io::IsTerminal;

use super::picture::Picture;
use super::picture::plain::Plain;
use super::recorder::Recorder;

/// Where the demo is shown: a live picture on a terminal, lines elsewhere.
pub(super) enum Show {
    Picture { picture: Picture, total_s: f64 },
    Lines { plain: Plain, to_stderr: bool },
}

impl Show {
    pub(super) fn open(plain: bool, json: bool, total_s: f64) -> Self {
        if !plain
            && !json
            && std::io::stdout().is_terminal()
            && let Ok(picture) = Picture::open()
        {
            return Self::Picture { picture, total_s };
        }
        Self::Lines {
            plain: Plain::new(5.0),
            to_stderr: json,
        }
    }

    pub(super) fn draw(&mut self, recorder: &Recorder) {
        let now_s = recorder.now_s();
        match self {
            // A terminal that went away must not end the run.
            Self::Picture { picture, total_s } => picture
                .draw(recorder.run(), now_s, *total_s)
                .unwrap_or_default(),
            Self::Lines { plain, to_stderr } => {
                for line in plain.lines(recorder.run(), now_s) {
                    if *to_stderr {
                        eprintln!("{line}");
                    } else {
                        println!("{line}");
                    }
                }
            }
        }
    }
}
