//! Back ends as processes.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A back end that listens on a socket, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    /// Starts `program SOCKET ARGUMENTS…` and waits until it says that it listens.
    ///
    /// # Panics
    /// Where it does not.
    #[must_use]
    pub fn start(program: &str, socket: &Path, arguments: &[&str]) -> Self {
        // Of a process before, which leaves it.
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new(program);
        command.arg(socket).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        Self { child, socket: socket.into() }
    }

    /// Connects to it.
    ///
    /// # Panics
    /// Where it does not listen.
    #[must_use]
    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it has.
    ///
    /// # Panics
    /// Where it is gone.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it was waited for before.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
