//! Lines for containerd's log, by the FIFO in the bundle that it reads.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Where lines go; nowhere when there is no FIFO.
#[derive(Debug)]
pub struct Log(Option<File>);

impl Log {
    /// Opens the FIFO of a bundle. Never waits: with both ends of it, it is there without a reader
    /// and outlives containerd.
    pub fn open(bundle: &Path) -> Self {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fifo = open(bundle.join("log"), flags, Mode::empty()).ok();
        let fifo = fifo.filter(|fifo| {
            fstat(fifo).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        });
        Self(fifo.map(File::from))
    }

    /// Writes a line, as containerd's logger reads them; one that does not fit is lost.
    pub fn line(&self, level: &str, text: &impl std::fmt::Display) {
        let Some(mut fifo) = self.0.as_ref() else { return };
        let text = casemate_foreign_text::value(text).at_most(1024).to_string();
        let line = format!("level={level} msg=\"{text}\"\n");
        let _ = fifo.write(line.as_bytes());
    }
}
