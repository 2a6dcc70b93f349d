//! The live picture on a terminal that is memory: what stands on it at the sizes people have.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use taffrail::demo::picture::{Ink, screen};
use taffrail::demo::timeline::{Pod, PodState, Run, text};

use crate::recording::{SECONDS, recording};

const SIZES: [(u16, u16); 4] = [(80, 24), (120, 40), (200, 50), (60, 16)];

#[test]
fn at_every_second_and_size_all_figures_stand_whole_on_the_screen() {
    for (columns, rows) in SIZES {
        for t in [0, 3, 37, 63, 95, 127, SECONDS - 1] {
            let run = until(t);
            let now = run.samples.last().expect("there is a sample");
            let screen = text_of(&run, columns, rows);
            let mut words = vec![
                "Taffrail demo: users in shop".to_owned(),
                "of 2:40".to_owned(),
                format!("{:.0}/s offered", now.offered_rps),
                format!("p95 {}", text::latency(now.p95_ms.expect("is known"))),
                "target 70 %".to_owned(),
                "250 ms".to_owned(),
                format!("{} wanted", now.replicas_spec),
                format!("■ {:.0}/s", now.done_rps / f64::from(now.replicas_ready)),
            ];
            if 80 <= columns {
                words.push(format!("{:.0} answered", now.done_rps));
                words.push(format!("{} ready", now.replicas_ready));
                words.push(format!(
                    "CPU alone {}",
                    now.cpu_only_replicas.expect("is known")
                ));
            }
            for word in words {
                assert!(
                    screen.contains(&word),
                    "{word:?} at {t} s, {columns}x{rows}:\n{screen}"
                );
            }
        }
    }
}

#[test]
fn the_newest_decision_stands_whole_with_its_reason_in_kubernetes_words() {
    for (columns, rows) in SIZES {
        let run = until(37);
        let screen = text_of(&run, columns, rows);
        let decision = run.decisions.last().expect("there is a decision");
        let expected = format!("0:36 ▲ 1→2 {}: {}", decision.reason, decision.message);
        // Words that were wrapped are joined again.
        let joined: String = screen.split_whitespace().collect();
        let expected: String = expected.split_whitespace().collect();
        assert!(joined.contains(&expected), "{columns}x{rows}:\n{screen}");
    }
}

#[test]
fn a_breach_and_an_absent_metric_are_said_in_words_and_not_by_colour_alone() {
    assert!(text_of(&until(20), 80, 24).contains("● within the objective (p95 within 250 ms)"));
    let breached = text_of(&until(63), 80, 24);
    assert!(
        breached.contains("▲ over the objective (p95 within 250 ms) for 34 s"),
        "{breached}"
    );
    assert!(
        breached.contains("HPA reads nothing") && breached.contains("metric: unknown"),
        "{breached}"
    );
}

#[test]
fn without_colours_no_cell_has_one() {
    let plain = draw(&until(100), 80, 24, Ink::Plain);
    assert!(
        plain
            .content()
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    let coloured = draw(&until(100), 80, 24, Ink::Colour);
    assert!(
        coloured
            .content()
            .iter()
            .any(|cell| cell.fg == Color::LightRed),
        "the breach is red"
    );
    let glyphs = |buffer: &Buffer| {
        buffer
            .content()
            .iter()
            .map(|cell| cell.symbol().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        glyphs(&plain),
        glyphs(&coloured),
        "the same picture either way"
    );
}

#[test]
fn each_state_of_a_pod_is_shown_and_those_that_do_not_fit_are_counted() {
    let mut run = until(37);
    let pod = |state, rps| Pod {
        name: String::new(),
        state,
        rps,
    };
    run.samples.last_mut().expect("there is a sample").pods = vec![
        pod(PodState::Ready, Some(55.0)),
        pod(PodState::Starting, None),
        pod(PodState::Draining, None),
    ];
    assert!(text_of(&run, 80, 24).contains("Pods  ■ 55/s □ starting ◇ draining"));
    run.samples.last_mut().expect("there is a sample").pods =
        vec![pod(PodState::Ready, Some(55.0)); 200];
    let screen = text_of(&run, 80, 24);
    let pods = screen
        .lines()
        .find(|line| line.starts_with("Pods"))
        .expect("there is a line of pods");
    let shown = pods.matches('■').count();
    assert!(
        pods.trim_end().ends_with(&format!("+{} more", 200 - shown)),
        "{pods}"
    );
}

#[test]
fn figures_that_find_no_room_are_left_out_whole() {
    let mut run = until(63);
    let now = run.samples.last_mut().expect("there is a sample");
    (now.offered_rps, now.done_rps, now.error_rps) = (123_456.0, 120_000.0, 3_456.0);
    let screen = text_of(&run, 80, 24);
    assert!(
        screen.contains("Load 123456/s offered 3456 failed "),
        "{screen}"
    );
    assert!(!screen.contains("failed 12"), "no half number:\n{screen}");
}

#[test]
fn a_simulation_says_so_and_an_empty_run_and_a_tiny_terminal_are_drawn() {
    let simulated = Run {
        simulated: true,
        ..until(37)
    };
    assert!(text_of(&simulated, 80, 24).contains("SIMULATION"));
    assert!(text_of(&Run::default(), 80, 24).contains("Starting"));
    let tiny = text_of(&until(37), 40, 10);
    let words: Vec<&str> = tiny.split_whitespace().collect();
    assert!(
        words.join(" ").contains("needs 60 columns and 16 rows"),
        "{tiny}"
    );
    for (columns, rows) in [(1, 1), (60, 16), (61, 17), (300, 5)] {
        text_of(&until(100), columns, rows);
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

fn draw(run: &Run, columns: u16, rows: u16, ink: Ink) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("memory takes all");
    let now_s = run.samples.last().map_or(0.0, |sample| sample.t_s);
    let total_s = f64::from(SECONDS);
    terminal
        .draw(|frame| screen::render(frame, run, now_s, total_s, ink))
        .expect("memory takes all");
    terminal.backend().buffer().clone()
}

fn text_of(run: &Run, columns: u16, rows: u16) -> String {
    let buffer = draw(run, columns, rows, Ink::Colour);
    let row = |y| {
        (0..columns)
            .map(|x| buffer[(x, y)].symbol())
            .collect::<String>()
    };
    (0..rows).map(row).collect::<Vec<_>>().join("\n")
}
