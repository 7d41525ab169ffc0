//! Sealed results: what an owner opens, and what a guest reads of the disk for them.

use casemate_result::entries::{Entries, Entry, Next, end, put};
use casemate_result::{
    Cover, Ending, InputDigest, Opener, PublicKey, Request, Sealer, SecretKey, survey,
};
use std::sync::OnceLock;

fn key() -> &'static (SecretKey, PublicKey) {
    static KEY: OnceLock<(SecretKey, PublicKey)> = OnceLock::new();
    KEY.get_or_init(|| {
        let secret = SecretKey::from_text(&"5a".repeat(32)).expect("a key");
        let public = secret.public().expect("a key");
        (secret, public)
    })
}

/// Reads entries to their end or their first error; how many there were.
fn walk(entries: &mut Entries<impl std::io::Read>) -> Result<usize, casemate_result::ResultError> {
    let mut count = 0;
    while let Next::Entry(Entry { path, .. }) = entries.next_entry()? {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        assert!(!names.iter().any(|name| matches!(*name, b"" | b"." | b"..")), "{path:?}");
        entries.contents(|_| Ok(()))?;
        count += 1;
    }
    Ok(count)
}

/// Any bytes are a request, a result or an error; as what was sealed, they are files or an error;
/// as one file of a result, they come back.
pub fn sealed(data: &[u8]) {
    let (secret, public) = key();
    if let Ok(request) = Request::read(&mut &data[..]) {
        let again = request.encode();
        assert_eq!(Request::read(&mut &again[..]).expect("what was read is written"), request);
        assert!(data.starts_with(&again), "one spelling");
        let mut rest = &data[again.len()..];
        let mut digest = InputDigest::default();
        for input in &request.inputs {
            if digest.add(input, &mut rest, |_| Ok(())).is_err() {
                break;
            }
        }
    }
    if let Ok(found) = survey(&mut &data[..]) {
        assert_eq!(found.cover.whole().expect("a length"), data.len() as u64);
        let part = &data[Cover::SIZE..data.len() - found.evidence.len()];
        if let Ok(opener) = Opener::new(part, &found.cover, secret) {
            let _ = walk(&mut Entries::new(opener));
        }
    }
    // The list of files alone, as a hostile guest would seal it.
    let _ = walk(&mut Entries::new(data));
    let (nonce, inputs) = ([1; 32], [2; 32]);
    let mut sealer =
        Sealer::new(Vec::new(), &[*public], &nonce, &inputs).expect("a recipient and numbers");
    let entry = Entry { path: b"a/b".to_vec(), mode: 0o644, size: Some(data.len() as u64) };
    put(&mut sealer, &entry).expect("memory");
    sealer.put(data).expect("memory");
    end(&mut sealer, Ending::GOOD).expect("memory");
    let (part, sealed) = sealer.finish().expect("memory");
    let cover = Cover { sealed: sealed.len, evidence: 0, nonce, inputs };
    let mut entries = Entries::new(Opener::new(&part[..], &cover, secret).expect("our key"));
    assert_eq!(walk(&mut entries).expect("what was sealed"), 1);
    assert_eq!(entries.into_inner().finish().expect("the end"), sealed.sha256);
}
