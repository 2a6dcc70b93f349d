//! The live picture of a run in a terminal, and [`plain`] lines where there is none. The picture has the alternate
//! screen to itself and gives the terminal back however the run ends. It leaves the terminal's input mode alone, so
//! Ctrl-C stays the signal it is. What is drawn where is in [`screen`]; this file owns the terminal.

mod chart;
mod ink;
mod panels;
pub mod plain;
pub mod screen;

use std::io::{self, IsTerminal, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::{Frame, Terminal};

use crate::clock;
use crate::demo::timeline::Run;

pub use ink::Ink;

/// Whether the terminal shows the alternate screen. A terminal is one per process, so this is too; it makes giving it
/// back safe to do twice.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The picture; the terminal is given back when it is dropped.
#[derive(Debug)]
pub struct Picture {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    ink: Ink,
}

impl Picture {
    /// Takes the terminal on standard output. Colours are left out when `NO_COLOR` is set and not empty
    /// (<https://no-color.org>).
    ///
    /// # Errors
    ///
    /// When standard output is no terminal or cannot be written.
    pub fn open() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("standard output is not a terminal"));
        }
        let no_color = clock::env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = if no_color { Ink::Plain } else { Ink::Colour };
        give_back_on_panic();
        TAKEN.store(true, Ordering::SeqCst);
        let opened = execute!(io::stdout(), EnterAlternateScreen, Hide)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Self { terminal, ink }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws `run` as it stands at `now_s` of `total_s` seconds.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written.
    pub fn draw(&mut self, run: &Run, now_s: f64, total_s: f64) -> io::Result<()> {
        let ink = self.ink;
        self.terminal
            .draw(|frame: &mut Frame<'_>| screen::render(frame, run, now_s, total_s, ink))?;
        Ok(())
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back; does nothing when it was not taken. For ways out that run no destructors, as
/// `std::process::exit` on a second Ctrl-C.
pub fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // If the terminal is gone there is nobody left to tell.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    }
}

/// A panic's message is written before anything is dropped, so without this it would vanish with the screen.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}
