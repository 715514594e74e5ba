//! A thread that collects lines and writes many of them with one system call.
//!
//! A system call for each line takes a twentieth of a small request's time. The thread of tracing-appender does not save
//! it: it is woken for nearly each line, and spins before it sleeps again.
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many bytes may wait. Lines that come while there is no room are lost, and counted.
const MAX_WAITING: usize = 2 * 1024 * 1024;
/// How long the thread collects lines before it writes them.
const COLLECTING: Duration = Duration::from_millis(20);
/// How many bytes are written at once. Meanwhile, other lines wait for standard error.
const PIECE: usize = 64 * 1024;
/// How long a server that stops waits until the thread has written the remaining lines. After that they are lost.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Takes lines. A clone is cheap and takes them for the same thread.
#[derive(Clone, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Whether the thread waits for the first line, so that it has to be woken.
    is_idle: bool,
    is_ending: bool,
    /// The writer, once the thread has ended. Lines that come later are written to it directly.
    direct: Option<Box<dyn Write + Send>>,
}

/// The handle of the thread. When it is dropped, it waits up to a second until the remaining lines are written.
#[must_use]
pub struct Background {
    lines: Lines,
    /// The thread closes this channel when it ends.
    ended: Receiver<()>,
}

impl Lines {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner) // a line is added whole or not at all
    }

    /// Waits for lines, and returns them. `None` if there are none and the thread is to end.
    fn next(&self, mut empty: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.is_ending {
                return None;
            }
            state.is_idle = true;
            state = self.0.has_work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.is_ending {
            drop(state);
            thread::sleep(COLLECTING);
            state = self.state();
        }
        std::mem::swap(&mut state.waiting, &mut empty);
        Some(empty)
    }

    fn write_to(&self, mut writer: impl Write + Send + 'static) {
        let (mut lines, mut is_cut) = (Vec::new(), false);
        loop {
            lines.clear();
            let Some(next) = self.next(lines) else {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    state.direct = Some(Box::new(writer));
                    return;
                }
                lines = Vec::new(); // a line has come just now
                continue;
            };
            lines = next;
            for piece in pieces(&lines) {
                let start: &[u8] = if is_cut { b"\n" } else { b"" }; // the last piece may have ended within a line
                is_cut = writer.write_all(start).and_then(|()| writer.write_all(piece)).is_err();
                if is_cut {
                    self.state().lost += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
                }
            }
        }
    }
}

/// Splits lines into pieces that end with a line, and that have at most [`PIECE`] bytes if no line is longer.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let is_end = |byte: &u8| *byte == b'\n';
        let within = &lines[..lines.len().min(PIECE)];
        let end = within.iter().rposition(is_end).or_else(|| lines.iter().position(is_end));
        let (piece, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let Some(direct) = &mut state.direct {
            return direct.write(line);
        }
        match state.waiting.len() + line.len() <= MAX_WAITING {
            true => state.waiting.extend_from_slice(line),
            false => state.lost += 1,
        }
        if std::mem::take(&mut state.is_idle) {
            self.0.has_work.notify_one();
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Background {
    /// Starts the thread, which writes to `writer`. The returned function makes writers for it, as tracing-subscriber
    /// needs them. Fails if the system refuses a new thread.
    pub fn start(writer: impl Write + Send + 'static) -> io::Result<(impl Fn() -> Lines, Self)> {
        let (ends, ended) = channel();
        let lines = Lines::default();
        let of_thread = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            of_thread.write_to(writer);
            drop(ends);
        })?;
        let of_log = lines.clone();
        Ok((move || of_log.clone(), Self { lines, ended }))
    }

    /// Returns a function that returns the number of lost lines.
    pub fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lines = self.lines.clone();
        move || lines.state().lost
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.lines.state().is_ending = true;
        self.lines.0.has_work.notify_one();
        // Nothing is logged if this fails: the thread then holds the lock of standard error.
        let _ = self.ended.recv_timeout(LAST_WRITE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written, but writes nothing while the gate is locked, and fails while it has to.
    #[derive(Clone, Default)]
    struct Gated {
        gate: Arc<Mutex<()>>,
        written: Arc<Mutex<Vec<u8>>>,
        fails: Arc<Mutex<bool>>,
    }

    impl Gated {
        fn text(&self) -> String {
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            let bytes = &bytes[..bytes.len().min(if *self.fails.lock().unwrap() { 3 } else { 5000 })];
            self.written.lock().unwrap().write_all(bytes)?;
            match *self.fails.lock().unwrap() {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(bytes.len()),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_in_their_order() {
        let log = Gated::default();
        let (writer, background) = Background::start(log.clone()).unwrap();
        let mut expected = String::new();
        for number in 0..10_000 {
            let line = format!("line {number}\n");
            expected.push_str(&line);
            writer().write_all(line.as_bytes()).unwrap();
            if number == 5000 {
                thread::sleep(COLLECTING * 2); // the thread may be idle by now
            }
        }
        assert_eq!(background.lost_lines()(), 0);
        drop(background);
        assert_eq!(log.text(), expected);
        writer().write_all(b"after the end\n").unwrap();
        assert_eq!(log.text(), expected + "after the end\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let log = Gated::default();
        let (writer, background) = Background::start(log.clone()).unwrap();
        *log.fails.lock().unwrap() = true;
        writer().write_all(b"one\ntwo\n").unwrap();
        while background.lost_lines()() == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        *log.fails.lock().unwrap() = false;
        writer().write_all(b"three\n").unwrap();
        assert_eq!(background.lost_lines()(), 2);
        drop(background);
        assert_eq!(log.text(), "one\nthree\n");
    }

    #[test]
    fn pieces_end_with_a_line() {
        let (long, short) = ("a".repeat(PIECE) + "\n", "b".repeat(PIECE / 2) + "\n");
        let lines = [&short[..], &short, &long, &short, "end"].concat();
        let all: Vec<_> = pieces(lines.as_bytes()).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        assert_eq!(all, [&short[..], &short, &long, &short, "end"]);
        assert_eq!(pieces(b"").count(), 0);
    }

    #[test]
    fn nobody_waits_for_a_log_that_is_not_read() {
        let log = Gated::default();
        let closed = log.gate.lock().unwrap();
        let (writer, background) = Background::start(log.clone()).unwrap();
        writer().write_all(b"first\n").unwrap();
        while !background.lines.state().waiting.is_empty() {
            thread::sleep(Duration::from_millis(1)); // until the thread tries to write
        }
        let line = [b'x'; 1024];
        for _ in 0..MAX_WAITING / line.len() + 5 {
            writer().write_all(&line).unwrap();
        }
        assert_eq!(background.lost_lines()(), 5);
        drop(background); // gives up after a second
        drop(closed);
    }
}
