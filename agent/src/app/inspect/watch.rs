//! An answer that is shown again and again in place, as `watch` and `top` do it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::text::Paint;
use super::{AskError, Output, Show};
use crate::report::Chain;

/// The other screen, no cursor, no wrapped lines (xterm, "Control Sequences": 1049, 25, 7); what was on the
/// terminal comes back at the end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// ECMA-48: to the upper left corner; whatever is right of here; whatever is below here.
const HOME: &str = "\x1b[H";
const CLEAR_RIGHT: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Asks and shows until SIGINT or SIGTERM comes. That nobody answers is shown too: agents are replaced.
pub(super) async fn show<S, F>(every: Duration, output: Output, mut ask: impl FnMut() -> F)
where
    S: Show,
    F: Future<Output = Result<S, AskError>>,
{
    let is_in_place = output == Output::Text && io::stdout().is_terminal();
    let screen = is_in_place.then(Screen::enter);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = std::pin::pin!(ended());
    loop {
        tokio::select! {
            () = &mut ended => return,
            _ = ticks.tick() => {}
        }
        let answer = tokio::select! {
            () = &mut ended => return,
            answer = ask() => answer,
        };
        let text = match (&answer, output) {
            (Ok(answer), Output::Text) => answer.show(Paint::for_stdout()),
            // A line each, so that they can be read one by one.
            (Ok(answer), Output::Json) => serde_json::to_string(answer).unwrap_or_default() + "\n",
            (Err(error), _) => format!("podrole: {}\n", Chain(error)),
        };
        let written = match (&screen, &answer) {
            (Some(_), _) => put(&frame(&text, every, rows())),
            (None, Ok(_)) => put(&text),
            (None, Err(_)) => io::stderr().write_all(text.as_bytes()),
        };
        // Whoever read it is gone.
        if written.is_err() {
            return;
        }
    }
}

/// The terminal as long as it is ours.
struct Screen;

impl Screen {
    fn enter() -> Self {
        // Without a terminal nobody sees the rest either.
        let _ = put(ENTER);
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = put(LEAVE);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Lines of the terminal, as it is now.
fn rows() -> usize {
    let size = tcgetwinsize(io::stdout()).map(|size| usize::from(size.ws_row));
    // A terminal that does not know its own says 0.
    size.ok().filter(|rows| *rows > 0).unwrap_or(24).max(4)
}

/// `text` over whatever was there before, as much of it as fits.
fn frame(text: &str, every: Duration, rows: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    // The first line says how to end it; the last stays free for what does not fit.
    let shown = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
    let head = format!("every {} s; Ctrl-C ends it", every.as_secs());
    let mut frame = format!("{HOME}{head}{CLEAR_RIGHT}");
    for line in lines.iter().take(shown) {
        // Writing to a string cannot fail.
        let _ = write!(frame, "\r\n{line}{CLEAR_RIGHT}");
    }
    let left = lines.len().saturating_sub(shown);
    if left > 0 {
        let _ = write!(frame, "\r\n… {left} more lines: make the window taller{CLEAR_RIGHT}");
    }
    frame + CLEAR_BELOW
}

async fn ended() {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    // Without handlers the signals end the process.
    let Ok((mut interrupt, mut terminate)) = signals else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_shown_whole_and_over_what_was_there() {
        let frame = frame("a\nb\n", Duration::from_secs(2), 3);
        let lines = ["every 2 s; Ctrl-C ends it", "a", "b"];
        let lines = lines.map(|line| format!("{line}{CLEAR_RIGHT}"));
        assert_eq!(frame, format!("{HOME}{}{CLEAR_BELOW}", lines.join("\r\n")));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let frame = frame("a\nb\nc\n", Duration::from_secs(2), 3);
        assert_eq!(frame.matches("\r\n").count(), 2, "{frame:?}");
        assert!(frame.contains("\r\na") && !frame.contains("\r\nb"), "{frame:?}");
        assert!(frame.contains("… 2 more lines"), "{frame:?}");
    }
}
