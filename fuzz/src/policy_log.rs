//! A file where a writer's log should be: what it finds there others may have written.

use casemate_policy::log::{KnownHead, SigningKey, Verifier};
use casemate_policy_log::LogFile;
use std::path::PathBuf;

/// The key of the seeds.
fn key() -> Option<SigningKey> {
    SigningKey::from_seed(&[3; 32])
}

/// A folder of this process, so that runs side by side do not meet.
fn folder() -> PathBuf {
    let path = std::env::temp_dir().join(format!("casemate-fuzz-log-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

/// Opens the bytes as a log: refused and left as they are, or extended to a log that holds, with
/// all its whole lines as they were. With the key, only what the key has signed is extended.
pub fn open(data: &[u8]) {
    // The first byte chooses what is relied on.
    let Some((choice, data)) = data.split_first() else { return };
    let folder = folder();
    let (path, head) = (folder.join("log"), folder.join("head"));
    let key = (choice & 1 != 0).then(key).flatten();
    let public = key.as_ref().map(SigningKey::public);
    let adopt = choice & 2 != 0;
    std::fs::write(&path, data).expect("a file");
    let _ = std::fs::remove_file(&head);
    let known = KnownHead { seq: u64::from(choice >> 3), hash: [7; 32] };
    if choice & 4 != 0 {
        std::fs::write(&head, format!("{known}\n")).expect("a file");
    }
    let head = (choice & 4 != 0).then_some(head);
    let file = LogFile { key, head: head.clone(), adopt, ..LogFile::new(&path) };
    let opened = file.open();
    if opened.is_err() {
        assert_eq!(std::fs::read(&path).expect("the file"), data, "a refused file is not touched");
        return;
    }
    drop(opened);
    // No log that was found has a record of this hash.
    assert!(head.is_none(), "a log without the record that its head file names was extended");
    let after = std::fs::read(&path).expect("the file");
    let whole = data.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    assert!(after.starts_with(data.get(..whole).unwrap_or_default()), "whole lines stay");
    let verify = |bytes: &[u8]| {
        let mut verifier = Verifier::new(public, None);
        let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|b| *b == b'\n');
        lines.for_each(|line| drop(verifier.line(line)));
        verifier.finish(&[])
    };
    let report = verify(&after);
    if public.is_some() {
        assert_eq!(report.unsigned, 0, "the writer signed its own record");
    }
    if whole > 0 && !adopt && public.is_some() {
        let before = verify(data.get(..whole).unwrap_or_default());
        assert!(before.unsigned == 0 && before.heads > 0, "what was not signed was extended");
    }
}
