//! Bad input of `casemate run`: each kind is refused with exit status 2 (1 where the host is at
//! fault) and one line that names the field and what to do, and leaves nothing behind.

mod confidential;
mod configuration;
mod host;
mod kernels;

use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_casemate");

/// A directory with a good kernel in it, removed at the end.
struct Place(PathBuf);

impl Place {
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-bad-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        place.write("kernel", &elf(0x100_0000, &[(0x100_0000, 16, 4096)]));
        place
    }
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}
impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An ELF kernel; segments are (address, bytes in the file, bytes in memory).
fn elf(entry: u64, segments: &[(u64, u64, u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in file.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(16, &[2, 0, 62]);
    put(24, &entry.to_le_bytes());
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, u8::try_from(segments.len()).unwrap_or(0)]);
    for (address, in_file, in_memory) in segments {
        file.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
        for word in [4096, *address, *address, *in_file, *in_memory, 4096] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.resize(8192, 0xf4);
    file
}

/// Exit status and error output of the program under `command`.
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing goes to standard output");
    let text = String::from_utf8_lossy(&output.stderr);
    // The warning about `protection = "none"` comes first where the configuration itself was good.
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("warning: protection")).collect();
    (output.status.code().unwrap_or(-1), lines.join("\n"))
}

/// Asserts that `command` is refused with `status` by one line with all of `words`.
fn assert_refused(command: &mut Command, status: i32, words: &[&str]) {
    let (got, line) = outcome(command);
    assert_eq!(got, status, "{command:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{command:?}: {line}");
    for word in words {
        assert!(line.contains(word), "{command:?}: no {word:?} in: {line}");
    }
}

fn run(place: &Place, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "none", "--kernel", &place.path("kernel")]).args(flags);
    command
}
