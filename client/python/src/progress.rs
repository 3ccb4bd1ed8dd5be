//! One line on stderr that says how far a long reading is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use weir_client::columnar::ReadStatistics;

/// Shorter readings show nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two updates of a line on a terminal.
const PACE: Duration = Duration::from_millis(200);
/// Between two lines in a file.
const PACE_OF_LINES: Duration = Duration::from_secs(5);

/// Draws while it is told what was done.
pub(crate) struct Progress {
    shown: bool,
    terminal: bool,
    topic: String,
    began: Instant,
    drawn: Option<Instant>,
    /// Rows between start and end, where both are known.
    total: Option<u64>,
}

impl Progress {
    /// `wanted`: always or never; otherwise only on a terminal.
    pub(crate) fn new(wanted: Option<bool>, topic: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            shown: wanted.unwrap_or(terminal),
            terminal,
            topic: topic.to_owned(),
            began: Instant::now(),
            drawn: None,
            total: None,
        }
    }

    pub(crate) fn is_shown(&self) -> bool {
        self.shown
    }

    pub(crate) fn set_total(&mut self, rows: u64) {
        self.total = Some(rows);
    }

    pub(crate) fn has_total(&self) -> bool {
        self.total.is_some()
    }

    /// Draws if it is time to.
    pub(crate) fn update(&mut self, done: &ReadStatistics) {
        let pace = if self.terminal { PACE } else { PACE_OF_LINES };
        let due = match self.drawn {
            None => self.began.elapsed() >= PATIENCE.min(pace.max(PATIENCE)),
            Some(drawn) => drawn.elapsed() >= pace,
        };
        if !self.shown || !due {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(&self.topic, self.total, self.began.elapsed(), done);
        let mut out = std::io::stderr().lock();
        // Nobody is left to tell if stderr is gone.
        let _ = if self.terminal { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.drawn.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

fn line(topic: &str, total: Option<u64>, took: Duration, done: &ReadStatistics) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let scanned = done.rows_scanned;
    let mut text = format!("{topic}: {} rows scanned", grouped(scanned));
    if let Some(total) = total.filter(|total| *total > 0) {
        let percent = (scanned * 100 / total).min(100);
        text.push_str(&format!(" of {} ({percent} %)", grouped(total)));
    }
    text.push_str(&format!(", {} returned", grouped(done.rows_returned)));
    text.push_str(&format!(", {:.1} MiB", done.bytes_received as f64 / (1024.0 * 1024.0)));
    text.push_str(&format!(", {} rows/s", grouped((scanned as f64 / seconds) as u64)));
    if let Some(left) = total.and_then(|total| total.checked_sub(scanned)).filter(|left| *left > 0 && scanned > 0) {
        text.push_str(&format!(", {:.0} s left", left as f64 * seconds / scanned as f64));
    }
    text
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
