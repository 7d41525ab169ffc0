//! An owner's folder, and results as a guest seals them: by the guest's own code.
#![allow(clippy::unwrap_used, dead_code, reason = "part of tests, not all of it of each")]

use casemate_result::entries::{Entry, end, put};
use casemate_result::{Cover, Ending, Hash, Input, InputDigest, PublicKey, Sealer};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The nonce of [`RUN`].
pub const NONCE: &str = "2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a";

/// A folder that goes with its owner.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-open-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Status, standard output and error output of the program, run here.
    pub fn casemate(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let output = command.current_dir(&self.0).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// A new key in the file `name`; what is sealed to.
    pub fn key(&self, name: &str) -> PublicKey {
        let (status, printed, said) = self.casemate(&["result-key", name]);
        assert_eq!((status, said.as_str()), (0, ""));
        let mode = self.0.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a key is its owner's");
        printed.trim_end().parse().unwrap()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// `open` with these options refuses, and leaves nothing.
    #[track_caller]
    pub fn refused(&self, file: &str, more: &[&str], status: i32, why: &str) {
        let before = self.names();
        let start = ["open", file, "-o", "out", "--key", "owner.key"];
        let (found, printed, said) = self.casemate(&[&start[..], more].concat());
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!((found, printed.as_str()), (status, ""), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("casemate: "), "{said}");
        assert_eq!(self.names(), before, "{why}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run was given.
#[derive(Clone, Copy)]
pub struct Run {
    pub nonce: [u8; 32],
    /// The contents of its one input, `readings`.
    pub readings: &'static [u8],
}

pub const RUN: Run = Run { nonce: [0x2a; 32], readings: b"1 2 3" };

/// A result without its evidence.
pub struct Sealed {
    pub cover: Cover,
    pub part: Vec<u8>,
    pub sha256: Hash,
}

impl Run {
    /// A folder `sums` with the file `all`, whose contents are `four`, of a workload that
    /// succeeded.
    pub fn seal(self, to: PublicKey, four: [u8; 4]) -> Sealed {
        self.seal_ended(to, four, Ending::GOOD)
    }

    /// The same of a workload that ended so.
    pub fn seal_ended(self, to: PublicKey, four: [u8; 4], ending: Ending) -> Sealed {
        let Self { nonce, readings } = self;
        let size = u64::try_from(readings.len()).unwrap();
        let mut inputs = InputDigest::default();
        let input = Input { name: "readings".into(), size };
        inputs.add(&input, &mut &*readings, |_| Ok(())).unwrap();
        let inputs = inputs.finish();
        let mut sealer = Sealer::new(Vec::new(), &[to], &nonce, &inputs).unwrap();
        let entry = |path: &str, mode, size| Entry { path: path.into(), mode, size };
        put(&mut sealer, &entry("sums", 0o500, None)).unwrap();
        put(&mut sealer, &entry("sums/all", 0o640, Some(4))).unwrap();
        sealer.put(&four).unwrap();
        end(&mut sealer, ending).unwrap();
        let (part, sealed) = sealer.finish().unwrap();
        let cover = Cover { sealed: sealed.len, evidence: 0, nonce, inputs };
        Sealed { cover, part, sha256: sealed.sha256 }
    }
}

impl Sealed {
    /// What evidence of it is made for.
    pub fn binding(&self) -> Vec<u8> {
        self.cover.binding(&self.sha256)
    }

    /// The whole file.
    pub fn with(&self, evidence: &[u8]) -> Vec<u8> {
        let cover = Cover { evidence: u32::try_from(evidence.len()).unwrap(), ..self.cover };
        [&cover.encode()[..], &self.part, evidence].concat()
    }
}
