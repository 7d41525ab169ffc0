//! What holds for all exits together.

use super::{EXITS, Exit, RUN_HEAD, RunArea};
use kvm_bindings::kvm_run;
use std::mem::offset_of;
use std::path::Path;

#[test]
fn every_variant_has_a_handler_file_and_a_fuzz_target() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in EXITS {
        assert!(here.join(format!("src/exits/{name}.rs")).is_file(), "no handler file for {name}");
        let target = here.join(format!("../fuzz/fuzz_targets/exit_{name}.rs"));
        assert!(target.is_file(), "no fuzz target for {name}");
    }
}

#[test]
fn every_handler_file_belongs_to_a_variant() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exits");
    for entry in std::fs::read_dir(directory).unwrap() {
        let stem = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let common =
            ["mod", "count", "exit", "dispatch", "machine", "outcome", "progress", "tests"];
        assert!(EXITS.contains(&stem.as_str()) || common.contains(&stem.as_str()), "{stem}");
    }
}

/// Protects messages and counts: they name an exit by its place in the list.
#[test]
fn every_exit_that_the_kernel_can_give_has_the_name_of_its_variant() {
    let mut seen = std::collections::BTreeSet::new();
    let results = [Ok(()), Err(libc::EINTR), Err(libc::EFAULT), Err(libc::EINVAL)];
    for (reason, direction) in (0..64).flat_map(|reason| [(reason, 0), (reason, 1)]) {
        for result in results {
            let mut bytes = vec![0; 4096];
            bytes[0] = reason;
            // Where the data of port I/O is: none, inside the area.
            bytes[32 + 9 - RUN_HEAD] = 8;
            // Direction of port I/O, and of MMIO.
            (bytes[32 - RUN_HEAD], bytes[32 + 20 - RUN_HEAD]) = (direction, direction);
            let exit = Exit::decode(result, RunArea::new(&mut bytes));
            let variant = format!("{exit:?}");
            let variant = variant.split('(').next().unwrap();
            let snake: String = variant
                .char_indices()
                .map(|(at, c)| match c {
                    'A'..='Z' if at > 0 => format!("_{}", c.to_ascii_lowercase()),
                    c => c.to_ascii_lowercase().to_string(),
                })
                .collect();
            assert_eq!(exit.name(), snake);
            seen.insert(snake);
        }
    }
    assert_eq!(seen.len(), EXITS.len(), "{seen:?}");
}

#[test]
fn offsets_are_those_of_the_kernels_structure() {
    assert_eq!(offset_of!(kvm_run, exit_reason), 8);
    assert_eq!(offset_of!(kvm_run, __bindgen_anon_1), 32);
    assert_eq!(offset_of!(kvm_run, immediate_exit), 1);
    const { assert!(offset_of!(kvm_run, exit_reason) >= RUN_HEAD) };
}

#[test]
fn an_area_too_short_for_anything_is_an_unknown_exit() {
    for len in 0..40 {
        let mut bytes = vec![0xff; len];
        let exit = Exit::decode(Ok(()), RunArea::new(&mut bytes));
        assert_eq!(exit.name(), "unknown");
    }
}
