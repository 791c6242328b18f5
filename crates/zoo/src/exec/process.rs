//! The external program: started once, asked one thing at a time, stopped when it is no longer needed.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{ExecError, Result};
use super::message::Message;

/// Bytes of standard error that are kept for messages.
const TAIL: usize = 2000;
/// How long an ending program is given to end.
const GRACE: Duration = Duration::from_secs(2);

/// A running program.
pub(super) struct Process {
    child: Child,
    requests: Option<Sender<Vec<u8>>>,
    answers: Receiver<Result<Option<Message>>>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    stderr_ended: Receiver<()>,
}

impl Process {
    /// Starts a command: a program and its arguments, quoted as in a shell, but without one.
    pub fn start(command: &str) -> Result<Self> {
        let words = shell_words::split(command).map_err(|error| ExecError::Command(format!("{command}: {error}")))?;
        let Some((program, arguments)) = words.split_first() else {
            return Err(ExecError::Command("no command; write exec:COMMAND".into()));
        };
        let mut starter = Command::new(program);
        starter.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C asks us to finish a step, which needs the program; and all it starts ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut starter, 0);
        let failed = |problem: String| ExecError::Start { program: program.clone(), problem };
        let mut child = starter.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(stdin), Some(stdout), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed("it has no pipes".into()));
        };
        let (requests, to_send) = channel();
        let (answer, answers) = channel();
        thread::spawn(move || converse(stdin, stdout, &to_send, &answer));
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (ended, stderr_ended) = channel();
        let tail = stderr.clone();
        thread::spawn(move || {
            keep_tail(errors, &tail);
            drop(ended);
        });
        Ok(Self { child, requests: Some(requests), answers, stderr, stderr_ended })
    }

    /// Sends a request and waits for its answer. After an error other than [`ExecError::Told`] or
    /// [`ExecError::TooLarge`] the program is stopped.
    pub fn ask(&mut self, op: &'static str, request: &Message, limit: Duration) -> Result<Message> {
        let bytes = request.encode()?;
        let sent = self.requests.as_ref().is_some_and(|requests| requests.send(bytes).is_ok());
        let answer = if sent { self.answers.recv_timeout(limit) } else { Err(RecvTimeoutError::Disconnected) };
        let answer = match answer {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            Ok(Err(error)) => {
                // A program that ended inside a message says more by its last words.
                let status = self.wait(GRACE / 4);
                self.stop();
                return Err(status.map_or(error, |status| ExecError::Ended { status, stderr: self.last_words() }));
            }
            Err(RecvTimeoutError::Timeout) => {
                self.stop();
                return Err(ExecError::Hung { op, limit, stderr: self.last_words() });
            }
        };
        match answer.metadata.get("error") {
            Some(problem) => Err(ExecError::Told(problem.clone())),
            None => Ok(answer),
        }
    }

    fn ended(&mut self) -> ExecError {
        let status = self.wait(GRACE).unwrap_or_else(|| "it closed its output".into());
        self.stop();
        ExecError::Ended { status, stderr: self.last_words() }
    }

    /// How the program ended, if it does within this time.
    fn wait(&mut self, time: Duration) -> Option<String> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.to_string()),
                Ok(None) if start.elapsed() < time => thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }

    /// The end of what it wrote to standard error, once that is complete or has had time to be.
    fn last_words(&self) -> String {
        let _ = self.stderr_ended.recv_timeout(GRACE / 4);
        let mut tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }

    /// Stops the program and what it started.
    fn stop(&mut self) {
        self.requests = None;
        #[cfg(unix)]
        {
            use nix::sys::signal::{Signal, killpg};
            // The group exists until its leader has been waited for; afterwards the number may be another's.
            if let (Ok(None), Ok(id)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
                let _ = killpg(nix::unistd::Pid::from_raw(id), Signal::SIGKILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends requests and passes on answers, in a thread of its own: both may block for as long as the program likes.
fn converse(
    mut stdin: ChildStdin,
    mut stdout: ChildStdout,
    requests: &Receiver<Vec<u8>>,
    answer: &Sender<Result<Option<Message>>>,
) {
    while let Ok(request) = requests.recv() {
        // A program that does not read has ended or will; its answer, or the lack of one, tells.
        let _ = stdin.write_all(&request).and_then(|()| stdin.flush());
        if answer.send(Message::read(&mut stdout)).is_err() {
            return;
        }
    }
}

fn keep_tail(mut errors: impl Read, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut buffer) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..count]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}
