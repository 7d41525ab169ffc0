//! Protects results on their way out: what was sealed is what is opened, by its owners alone; every
//! other byte, a missing end, another run or other inputs is an error and gives nothing that was
//! not sealed at that place. Cannot tell whether HPKE and ChaCha20-Poly1305 are sound, nor who
//! sealed: that is the evidence's business.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test"
)]

use casemate_result::entries::{Entries, Entry, Next, end, put};
use casemate_result::{
    Cause, Cover, Ending, Hash, Input, InputDigest, MAX_RECIPIENTS, Opener, PublicKey, Request,
    ResultError, Sealer, SecretKey, survey,
};
use proptest::prelude::*;
use std::io::Read;

const NONCE: [u8; 32] = [7; 32];
const INPUTS: Hash = [9; 32];

fn sealed(bytes: &[u8], to: &[PublicKey]) -> (Cover, Vec<u8>) {
    let mut sealer = Sealer::new(Vec::new(), to, &NONCE, &INPUTS).unwrap();
    sealer.put(bytes).unwrap();
    let (part, told) = sealer.finish().unwrap();
    assert_eq!(told.len, part.len() as u64);
    (Cover { sealed: told.len, evidence: 0, nonce: NONCE, inputs: INPUTS }, part)
}

fn opened(cover: &Cover, part: &[u8], key: &SecretKey) -> Result<Vec<u8>, String> {
    let mut opener = Opener::new(part, cover, key).map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    opener.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    opener.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

#[test]
fn what_was_sealed_is_opened_by_each_owner_and_by_nobody_else() {
    let keys: Vec<SecretKey> = (0..3).map(|_| SecretKey::generate().unwrap()).collect();
    let to: Vec<PublicKey> = keys.iter().map(|key| key.public().unwrap()).collect();
    // Around the borders of pieces.
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let (cover, part) = sealed(&bytes, &to[..2]);
        assert_eq!(opened(&cover, &part, &keys[0]).unwrap(), bytes);
        assert_eq!(opened(&cover, &part, &keys[1]).unwrap(), bytes);
        let refused = opened(&cover, &part, &keys[2]).unwrap_err();
        assert!(refused.contains("sealed to other keys"), "{refused}");
        assert!(!part.windows(64).any(|window| bytes.len() > 64 && window == &bytes[..64]));
    }
    let (_, one) = sealed(b"same", &to[..1]);
    let (_, other) = sealed(b"same", &to[..1]);
    assert_ne!(one, other, "two results of the same bytes have two keys");
    assert!(Sealer::new(Vec::new(), &[], &NONCE, &INPUTS).is_err(), "nobody could open it");
    let many = vec![to[0]; MAX_RECIPIENTS + 1];
    assert!(Sealer::new(Vec::new(), &many, &NONCE, &INPUTS).is_err());
}

#[test]
fn another_run_and_other_inputs_do_not_open() {
    let key = SecretKey::generate().unwrap();
    let (cover, part) = sealed(b"result", &[key.public().unwrap()]);
    for other in [Cover { nonce: [8; 32], ..cover }, Cover { inputs: [8; 32], ..cover }] {
        let refused = opened(&other, &part, &key).unwrap_err();
        assert!(refused.contains("another run or other inputs"), "{refused}");
    }
}

#[test]
fn a_piece_that_was_moved_repeated_left_out_or_cut_off_is_an_error() {
    const PIECE: usize = 65_536 + 16;
    let key = SecretKey::generate().unwrap();
    let bytes = vec![b'x'; 3 * 65_536];
    let (cover, part) = sealed(&bytes, &[key.public().unwrap()]);
    let (head, pieces) = part.split_at(part.len() - 3 * PIECE);
    let with = |order: &[usize]| {
        let pieces = order.iter().flat_map(|i| &pieces[i * PIECE..(i + 1) * PIECE]);
        let part: Vec<u8> = head.iter().chain(pieces).copied().collect();
        let mut cover = cover;
        cover.sealed = part.len() as u64;
        opened(&cover, &part, &key)
    };
    assert_eq!(with(&[0, 1, 2]).unwrap(), bytes);
    for order in [&[1, 0, 2][..], &[0, 1], &[0, 2], &[0, 0, 1, 2], &[0, 1, 2, 2], &[2], &[]] {
        assert!(with(order).is_err(), "{order:?}");
    }
    // Cut off under the same cover.
    assert!(opened(&cover, &part[..part.len() - 1], &key).unwrap_err().contains("cut off"));
}

fn whole(cover: &Cover, part: &[u8], evidence: &[u8]) -> Vec<u8> {
    let evidence_len = u32::try_from(evidence.len()).unwrap();
    [&Cover { evidence: evidence_len, ..*cover }.encode(), part, evidence].concat()
}

#[test]
fn a_whole_result_is_surveyed_and_one_that_is_not_whole_is_refused() {
    let key = SecretKey::generate().unwrap();
    let (cover, part) = sealed(b"result", &[key.public().unwrap()]);
    let bytes = whole(&cover, &part, b"evidence");
    let found = survey(&mut &bytes[..]).unwrap();
    assert_eq!(found.evidence, b"evidence");
    assert_eq!(found.cover.whole().unwrap(), bytes.len() as u64);
    let binding = found.cover.binding(&found.sealed);
    assert_eq!(binding.len(), 96);
    assert_eq!((&binding[32..64], &binding[64..]), (&INPUTS[..], &NONCE[..]));
    let mut opener = Opener::new(&bytes[Cover::SIZE..], &found.cover, &key).unwrap();
    std::io::copy(&mut opener, &mut std::io::sink()).unwrap();
    assert_eq!(opener.finish().unwrap(), found.sealed, "what is opened is what was surveyed");
    for end in 0..bytes.len() {
        let error = survey(&mut &bytes[..end]).unwrap_err();
        assert!(matches!(error, ResultError::CutOff(_)), "{end}: {error}");
    }
    assert!(matches!(survey(&mut &[&bytes[..], b"x"].concat()[..]), Err(ResultError::Longer)));
    let mut other = bytes.clone();
    other[3] ^= 1;
    assert!(matches!(survey(&mut &other[..]), Err(ResultError::Other(_))));
    let huge = Cover { sealed: u64::MAX, ..cover }.encode();
    assert!(survey(&mut &huge[..]).is_err());
}

#[test]
fn files_come_back_with_their_paths_and_a_path_that_leads_out_is_refused() {
    let key = SecretKey::generate().unwrap();
    let entry = |path: &str, size| Entry { path: path.into(), mode: 0o640, size };
    let all = [entry("a", None), entry("a/b", Some(3)), entry("c", Some(0))];
    let to = [key.public().unwrap()];
    let mut sealer = Sealer::new(Vec::new(), &to, &NONCE, &INPUTS).unwrap();
    for one in &all {
        put(&mut sealer, one).unwrap();
        sealer.put(&b"xyz"[..usize::try_from(one.size.unwrap_or(0)).unwrap()]).unwrap();
    }
    let long = "x".repeat(256);
    let deep = "d/".repeat(64) + "e";
    for bad in ["", "/", "/a", "a/", "a//b", ".", "a/../b", "..", "a\0", &long, &deep] {
        assert!(put(&mut sealer, &entry(bad, None)).is_err(), "{bad:?}");
    }
    assert!(put(&mut sealer, &Entry { mode: 0o4755, ..entry("s", Some(0)) }).is_err());
    let ending = Ending { status: 137, cause: Cause::Memory };
    end(&mut sealer, ending).unwrap();
    let (part, told) = sealer.finish().unwrap();
    let cover = Cover { sealed: told.len, evidence: 0, nonce: NONCE, inputs: INPUTS };
    let mut entries = Entries::new(Opener::new(&part[..], &cover, &key).unwrap());
    let mut found = Vec::new();
    let ended = loop {
        let one = match entries.next_entry().unwrap() {
            Next::Entry(one) => one,
            Next::End(ended) => break ended,
        };
        let mut contents: Vec<u8> = Vec::new();
        entries
            .contents(|part| {
                contents.extend(part);
                Ok(())
            })
            .unwrap();
        assert_eq!(contents.len() as u64, one.size.unwrap_or(0));
        found.push(one);
    };
    assert_eq!((found.as_slice(), ended), (&all[..], ending));
    assert_eq!(entries.into_inner().finish().unwrap(), told.sha256);
}

/// Protects an owner from an end that a reader of another version would guess at.
#[test]
fn how_a_workload_ended_comes_back_and_an_end_that_is_not_known_is_refused() {
    for code in 0..=u8::MAX {
        let next = Entries::new(&[0, code, 7][..]).next_entry();
        match Cause::from_code(code) {
            Some(cause) => {
                assert_eq!(cause.code(), code);
                assert_eq!(next.unwrap(), Next::End(Ending { status: 7, cause }));
            }
            None => assert!(next.is_err(), "{code}"),
        }
    }
    for list in [&[0][..], &[0, 0], &[0, 0, 0, 0]] {
        assert!(Entries::new(list).next_entry().is_err(), "{list:?}");
    }
}

#[test]
fn a_request_is_read_back_and_its_digest_is_of_names_sizes_contents_and_order() {
    let input = |name: &str, size| Input { name: name.into(), size };
    let request = Request::new(NONCE, vec![input("a", 2), input("b", 0)]).unwrap();
    let bytes = request.encode();
    assert_eq!(Request::read(&mut &bytes[..]).unwrap(), request);
    for end in 0..bytes.len() {
        assert!(Request::read(&mut &bytes[..end]).is_err(), "{end}");
    }
    for bad in ["", ".", "..", "a/b", "a\0b", &"x".repeat(256)] {
        assert!(Request::new(NONCE, vec![input(bad, 0)]).is_err(), "{bad:?}");
    }
    assert!(Request::new(NONCE, vec![input("a", 0), input("a", 1)]).is_err());
    let digest = |all: &[(&str, &[u8])]| {
        let mut digest = InputDigest::default();
        for (name, contents) in all {
            let input = input(name, contents.len() as u64);
            digest.add(&input, &mut &contents[..], |_| Ok(())).unwrap();
        }
        digest.finish()
    };
    let one = digest(&[("a", b"xy"), ("b", b"")]);
    for other in [
        &[("a", &b"xz"[..]), ("b", b"")][..],
        &[("a", b"x"), ("b", b"y")],
        &[("b", b""), ("a", b"xy")],
        &[("ab", b"xy"), ("", b"")],
        &[("a", b"xy")],
        &[],
    ] {
        assert_ne!(digest(other), one, "{other:?}");
    }
    let short = InputDigest::default().add(&input("a", 3), &mut &b"xy"[..], |_| Ok(()));
    assert!(matches!(short, Err(ResultError::CutOff(_))));
}

proptest! {
    /// One byte anywhere: whatever is given out before the error is a part of what was sealed.
    #[test]
    fn a_changed_byte_gives_nothing_else(len in 0..140_000_usize, at in any::<prop::sample::Index>(),
            bit in 0..8_u32) {
        let key = SecretKey::generate().unwrap();
        let bytes: Vec<u8> = (0..len).map(|i| (i * 31 % 253) as u8).collect();
        let (cover, mut part) = sealed(&bytes, &[key.public().unwrap()]);
        let at = at.index(part.len());
        part[at] ^= 1 << bit;
        let mut given = Vec::new();
        let ended = match Opener::new(&part[..], &cover, &key) {
            Err(e) => Err(e.to_string()),
            Ok(mut opener) => opener.read_to_end(&mut given).map_err(|e| e.to_string()),
        };
        prop_assert!(ended.is_err());
        prop_assert!(bytes.starts_with(&given));
    }
}
