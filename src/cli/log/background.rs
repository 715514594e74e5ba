//! Writes lines in a thread of its own, many at once.
//!
//! A system call for each line costs a small request a tenth of its time. tracing-appender's thread does not save it: it
//! is woken for nearly each line, and spins before it sleeps again.
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many bytes may wait. Lines that come while there is no room are lost, and counted.
const MAX_WAITING: usize = 2 * 1024 * 1024;
/// How long the thread collects lines before it writes them.
const COLLECTING: Duration = Duration::from_millis(20);
/// How long a server that stops waits for the lines that are left, if nobody reads them.
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
}

/// The thread. What waits is written when this is dropped.
#[must_use]
pub struct Background {
    lines: Lines,
    /// Is closed by the thread when it ends.
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

    fn write_to(&self, mut writer: impl Write) {
        let mut lines = Vec::new();
        loop {
            lines.clear();
            let Some(next) = self.next(lines) else { return };
            lines = next;
            // There is nobody to tell if the log can't be written.
            let _ = writer.write_all(&lines).and_then(|()| writer.flush());
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
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
    /// Starts a thread that writes to `writer` what the returned function's writers get. Fails if the system gives no
    /// thread.
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

    /// Tells how many lines were lost.
    pub fn lost_lines(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let lines = self.lines.clone();
        move || lines.state().lost
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.lines.state().is_ending = true;
        self.lines.0.has_work.notify_one();
        if self.ended.recv_timeout(LAST_WRITE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("The last access lines can't be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what is written, but writes nothing while the gate is locked.
    #[derive(Clone, Default)]
    struct Gated {
        gate: Arc<Mutex<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.written.lock().unwrap().write(bytes)
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
        assert_eq!(String::from_utf8(log.written.lock().unwrap().clone()).unwrap(), expected);
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
