//! The live picture on a terminal that is memory: what stands on it at the sizes people have.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use taffrail::demo::picture::{Ink, screen};
use taffrail::demo::timeline::Run;

use crate::recording::{SECONDS, recording};

#[test]
fn look() {
    for (c, r, t) in [(80, 24, 95), (120, 40, 150), (80, 24, 3), (200, 50, 60)] {
        println!("{}", screen_of(&until(t), c, r).join("\n"));
    }
}

/// The recording as it stood after `t` seconds.
fn until(t: u32) -> Run {
    let mut run = recording();
    let t_s = f64::from(t);
    run.samples.retain(|sample| sample.t_s <= t_s);
    run.decisions.retain(|decision| decision.t_s <= t_s);
    run.events.retain(|event| event.t_s <= t_s);
    run
}

fn screen_of(run: &Run, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory takes all");
    let now_s = run.samples.last().map_or(0.0, |sample| sample.t_s);
    let total_s = f64::from(SECONDS);
    terminal
        .draw(|frame| screen::render(frame, run, now_s, total_s, Ink::Colour))
        .expect("memory takes all");
    let buffer = terminal.backend().buffer();
    let row = |y| {
        (0..columns)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..rows).map(row).collect()
}
