//! The steps against a MODEL of the processor with a lying host: every lie ends in refusal, or changes nothing; Linux
//! never starts with less than all its memory accepted by the guest itself, exactly once.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod model;

use casemate_boot::{Entry, Machine, boot, e820};
use casemate_layout::{Mode, Params, Range, Termination, map, ports::mark};
use model::{Lie, Model, PAGE, guest};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// Pages that E820 gives to Linux, and those that it reads by address.
fn pages_for_linux(model: &Model) -> Vec<u64> {
    let zero_page = &model.low[map::ZERO_PAGE.start as usize..][..4096];
    e820::entries(zero_page)
        .flat_map(|(start, size, _)| (start..start + size).step_by(PAGE as usize))
        .collect()
}

/// What must hold when the kernel is entered.
fn assert_safe(model: &Model) {
    for gpa in pages_for_linux(model) {
        assert_eq!(model.validated.get(&gpa), Some(&1), "{gpa:#x} was not accepted exactly once");
        let scratch = map::SCRATCH.contains(model::one(gpa));
        assert!(
            scratch || model.touched.contains_key(&gpa),
            "{gpa:#x} was not looked at after acceptance"
        );
        let valid = model.rmp.iter().filter(|page| page.valid && page.gpa == gpa).count();
        assert!(valid <= 1, "{gpa:#x} has {valid} valid system pages");
    }
    let at = |start: u64, bytes: &[u8]| model.low[start as usize..].starts_with(bytes);
    assert!(at(map::CMDLINE.start, &[guest::CMDLINE, &[0]].concat()), "command line");
    assert!(at(guest::KERNEL_AT, &guest::bzimage()), "kernel");
    assert!(at(guest::INITRD_AT, &guest::initrd()), "initrd");
}

fn run(lies: Vec<(usize, Lie)>, large: Vec<Range>) -> (Model, Result<Entry, Termination>) {
    let (params, staging) = guest::launch(Mode::Snp, &guest::bzimage());
    let mut model = guest::machine(&params, staging);
    model.lies = lies;
    model.large = large;
    let result = boot(&mut model);
    (model, result)
}

#[test]
fn an_honest_host_gets_linux_with_all_memory_whether_pages_are_large_or_small() {
    for large in
        [vec![], vec![guest::HIGH], vec![Range { start: 0x20_0000, size: 0x20_0000 }, guest::HIGH]]
    {
        let (model, result) = run(vec![], large);
        assert_eq!(result.map(|entry| entry.zero_page), Ok(map::ZERO_PAGE.start));
        assert!(!model.dead.get());
        assert_safe(&model);
        let ram: u64 = pages_for_linux(&model).len() as u64 * PAGE;
        assert_eq!(ram, guest::LOW.size + guest::HIGH.size - map::LEGACY.size);
        assert!(model.marks.is_empty(), "no port I/O under SNP");
        let steps: Vec<_> =
            model.marks_by_page.iter().filter_map(|gpa| mark::step_of_page(*gpa)).collect();
        assert_eq!(steps, [mark::BOOT_CODE, mark::ACCEPTED, mark::VERIFIED, mark::KERNEL]);
        for gpa in &model.marks_by_page {
            assert_eq!(
                model.validated.get(gpa),
                Some(&1),
                "a mark asks for a page not yet private"
            );
        }
    }
}

#[test]
fn lies_that_are_there_from_the_start_have_their_own_refusals() {
    let page = 3 << 20;
    let cases = [
        (Lie::NoSnp, Termination::SnpNotActive),
        (Lie::CpuidCBit(47), Termination::CBitMismatch),
        (Lie::CpuidCount(0), Termination::CpuidPage),
        (Lie::CpuidCount(65), Termination::CpuidPage),
        (Lie::Prevalidate(page), Termination::AlreadyValidated),
        (Lie::Prevalidate(guest::HIGH.start), Termination::AlreadyValidated),
        (Lie::FailValidation(page), Termination::ValidateFailed),
        (Lie::RefusePrivate, Termination::PageStateChange),
    ];
    for (lie, termination) in cases {
        let name = format!("{lie:?}");
        assert_eq!(run(vec![(0, lie)], vec![]).1, Err(termination), "{name}");
    }
}

#[test]
fn staging_that_only_pretends_to_be_private_is_never_given_to_linux() {
    let (model, result) = run(vec![(0, Lie::PretendPrivate)], vec![]);
    assert!(result.is_err() || model.dead.get());
}

#[test]
fn a_changed_byte_of_staging_is_refused_with_the_name_of_what_it_is_in() {
    let (params, _) = guest::launch(Mode::Snp, &guest::bzimage());
    let parts = [
        (params.kernel, Termination::KernelHash),
        (params.initrd, Termination::InitrdHash),
        (params.cmdline, Termination::CmdlineHash),
        (params.acpi, Termination::AcpiHash),
    ];
    for (blob, termination) in parts {
        let first = blob.staged.start - guest::STAGING.start;
        for at in (first..first + blob.staged.size).step_by(97) {
            assert_eq!(run(vec![(0, Lie::FlipStaging(at))], vec![]).1, Err(termination), "{at}");
        }
    }
}

fn page() -> impl Strategy<Value = u64> {
    let low = (0..guest::LOW.size / PAGE).prop_map(|index| index * PAGE);
    let high = (0..guest::HIGH.size / PAGE).prop_map(|index| guest::HIGH.start + index * PAGE);
    prop_oneof![3 => low, 1 => high]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        page().prop_map(Lie::FailValidation),
        page().prop_map(Lie::Replace),
        (page(), page()).prop_map(|(a, b)| Lie::Swap(a, b)),
        (page(), page()).prop_map(|(a, b)| Lie::Alias(a, b)),
        page().prop_map(Lie::Rescind),
        page().prop_map(Lie::Unassign),
        page().prop_map(Lie::Prevalidate),
        (0..guest::STAGING.size).prop_map(Lie::FlipStaging),
        Just(Lie::PretendPrivate),
        Just(Lie::RefusePrivate),
    ]
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// A lie that comes after a page was accepted cannot be seen by the boot code; the processor holds it against the page:
    /// then the page is not valid, so Linux cannot use it either.
    #[test]
    fn whatever_the_host_does_and_when_the_kernel_starts_safely_or_not_at_all(
        lies in proptest::collection::vec((0_usize..6200, lie()), 1..6), large: bool,
    ) {
        let had = lies.clone();
        let large = if large { vec![guest::HIGH] } else { vec![] };
        let (model, result) = run(lies, large);
        if result.is_ok() && !model.dead.get() {
            // `Prevalidate` after a rescission is what no host can do; the model allows it to test the carry flag.
            let impossible = had.iter().any(|(_, lie)| matches!(lie, Lie::Prevalidate(_)));
            if !impossible {
                assert_safe(&model);
            }
            prop_assert_eq!(result.map(|entry| entry.zero_page), Ok(map::ZERO_PAGE.start));
        } else {
            prop_assert!(result.is_err() || model.dead.get());
        }
    }

    #[test]
    fn parameters_that_differ_in_any_byte_start_nothing_else_than_what_they_say(at in 0_usize..4096, bit in 0_u8..8, byte in any::<u8>()) {
        let (params, staging) = guest::launch(Mode::Plain, &guest::bzimage());
        let mut model = guest::machine(&params, staging);
        let start = map::PARAMS.start as usize;
        model.low[start + at] ^= (1 << bit) | byte;
        let result = boot(&mut model);
        if result.is_ok() {
            // What can differ without a refusal is ports, flags, and where the kernel goes: it is the right one all the same.
            let said = Params::decode(model.params_page()).unwrap();
            let at = |range: Range| &model.low[range.start as usize..range.end() as usize];
            prop_assert_eq!(at(said.kernel.target()), guest::bzimage());
            prop_assert_eq!(at(said.initrd.target()), guest::initrd());
            prop_assert_eq!(at(said.cmdline.target()), guest::CMDLINE);
        }
    }
}
