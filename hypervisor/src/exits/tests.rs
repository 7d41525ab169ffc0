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
        let common = ["mod", "exit", "dispatch", "machine", "outcome", "progress", "tests"];
        assert!(EXITS.contains(&stem.as_str()) || common.contains(&stem.as_str()), "{stem}");
    }
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
