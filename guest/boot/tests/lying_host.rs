//! The steps against a MODEL of the processor with a lying host: every lie ends in refusal, or
//! changes nothing; Linux never starts with less than all its memory accepted by the guest itself,
//! exactly once.
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
    assert!(at(guest::KERNEL.start, &guest::bzimage()[guest::SETUP..]), "kernel");
    assert!(at(guest::INITRD_AT, &guest::initrd()), "initrd");
    assert_eq!(model.map_reads, 1, "the host's map is read once");
    for gpa in (map::VIDEO.start..map::VIDEO.end()).step_by(PAGE as usize) {
        assert_eq!(model.validated.get(&gpa), None, "{gpa:#x} was accepted");
    }
}

fn run(lies: Vec<(usize, Lie)>, large: Vec<Range>) -> (Model, Result<Entry, Termination>) {
    let mut model = guest::machine(&guest::launch(Mode::Snp, &guest::bzimage()));
    model.lies = lies;
    model.large = large;
    let result = boot(&mut model);
    (model, result)
}

#[test]
fn an_honest_host_gets_linux_with_all_memory_whether_pages_are_large_or_small() {
    let high = Range { size: 2 * guest::MIB, ..guest::HIGH };
    for large in [vec![], vec![high], vec![Range { start: 0x20_0000, size: 0x20_0000 }, high]] {
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
    let places = guest::launch(Mode::Snp, &guest::bzimage()).places;
    assert_eq!(places.window, guest::STAGING);
    let parts = [
        (places.kernel, Termination::KernelHash),
        (places.initrd, Termination::InitrdHash),
        (places.cmdline, Termination::CmdlineHash),
        (places.acpi, Termination::AcpiHash),
    ];
    for (place, termination) in parts {
        let first = place.staged.start - guest::STAGING.start;
        for at in (first..first + place.staged.size).step_by(97) {
            assert_eq!(run(vec![(0, Lie::FlipStaging(at))], vec![]).1, Err(termination), "{at}");
        }
    }
}

/// Memory maps that a host may give instead, and how the guest ends; each is there before the guest
/// runs.
#[test]
fn a_wrong_memory_map_ends_the_guest_with_its_own_code_before_it_accepts_anything() {
    let number = |at: usize, value: u64| {
        value.to_le_bytes().iter().enumerate().map(|(i, byte)| (at + i, *byte)).collect::<Vec<_>>()
    };
    // Low memory is the range at 0x10, high memory that at 0x20: start, size.
    let cases = [
        ("magic", vec![(0, 0)], Termination::MapForm),
        ("part of a page", number(0x28, 0x1800), Termination::MapPages),
        ("over low memory", number(0x20, 4 * guest::MIB), Termination::MapOrder),
        ("above every address", number(0x20, 1 << 47), Termination::MapAddress),
        ("local APIC", number(0x20, map::LOCAL_APIC.start), Termination::MapDevices),
        ("ECAM", number(0x20, map::ECAM.start), Termination::MapDevices),
        ("launched pages missing", number(0x18, 0x1_0000), Termination::MapLow),
        ("too little", number(0x18, 3 * guest::MIB), Termination::MapTooSmall),
    ];
    for (name, bytes, termination) in cases {
        let lies = bytes.into_iter().map(|(at, value)| (0, Lie::ChangeMap(at, value))).collect();
        let (model, result) = run(lies, vec![]);
        assert_eq!(result, Err(termination), "{name}");
        let accepted = model.validated.iter().filter(|(gpa, _)| **gpa >= map::SCRATCH.end());
        assert_eq!(accepted.count(), 0, "{name}");
    }
}

#[test]
fn memory_above_the_addresses_that_the_cpuid_page_promises_is_refused() {
    let mut model = guest::machine(&guest::launch(Mode::Snp, &guest::bzimage()));
    model.low[map::CPUID.start as usize + guest::ADDRESS_BITS_AT] = 32;
    assert_eq!(boot(&mut model), Err(Termination::MapAddress));
    let mut model = guest::machine(&guest::launch(Mode::Snp, &guest::bzimage()));
    model.low[map::CPUID.start as usize] = 1;
    assert_eq!(boot(&mut model), Err(Termination::CpuidPage), "no word of it");
}

/// The map is wrong from the moment after it was read, in every byte, and nothing changes: only the
/// copy counts.
#[test]
fn a_memory_map_that_changes_after_it_was_read_changes_nothing() {
    for at in (0..0x40).step_by(3) {
        let (model, result) = run(vec![(3, Lie::ChangeMap(at, 0xee))], vec![]);
        assert!(result.is_ok() && !model.dead.get(), "{at}");
        assert_eq!(model.host_map[at], 0xee, "the lie was not told");
        assert_safe(&model);
    }
}

#[test]
fn staging_is_in_low_memory_where_high_memory_has_no_room_for_it() {
    let small = Range { size: guest::MIB, ..guest::HIGH };
    for ram in [&[guest::LOW][..], &[guest::LOW, small]] {
        let launch = guest::launch_in(Mode::Snp, &guest::bzimage(), ram);
        assert_eq!(launch.places.window.start, 6 * guest::MIB);
        let mut model = guest::machine(&launch);
        assert!(boot(&mut model).is_ok() && !model.dead.get());
        for gpa in pages_for_linux(&model) {
            assert_eq!(model.validated.get(&gpa), Some(&1), "{gpa:#x}");
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
        (0_usize..80, any::<u8>()).prop_map(|(at, value)| Lie::ChangeMap(at, value)),
    ]
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    /// A lie that comes after a page was accepted cannot be seen by the boot code; the processor
    /// holds it against the page: then the page is not valid, so Linux cannot use it either.
    #[test]
    fn whatever_the_host_does_and_when_the_kernel_starts_safely_or_not_at_all(
        lies in proptest::collection::vec((0_usize..6200, lie()), 1..6), large: bool,
    ) {
        let had = lies.clone();
        let large = if large { vec![guest::HIGH] } else { vec![] };
        let (model, result) = run(lies, large);
        if result.is_ok() && !model.dead.get() {
            // `Prevalidate` after a rescission is what no host can do; the model allows it to test
            // the carry flag.
            let impossible = had.iter().any(|(_, lie)| matches!(lie, Lie::Prevalidate(_)));
            // A map that was another one before it was read is another guest, which the model has
            // no memory for.
            let same = !had.iter().any(|(when, lie)| matches!(lie, Lie::ChangeMap(..)) && *when < 4);
            if !impossible && same {
                assert_safe(&model);
            }
            prop_assert_eq!(result.map(|entry| entry.zero_page), Ok(map::ZERO_PAGE.start));
        } else {
            prop_assert!(result.is_err() || model.dead.get());
        }
    }

    #[test]
    fn parameters_that_differ_in_any_byte_start_nothing_else_than_what_they_say(at in 0_usize..4096, bit in 0_u8..8, byte in any::<u8>()) {
        let mut model = guest::machine(&guest::launch(Mode::Plain, &guest::bzimage()));
        let start = map::PARAMS.start as usize;
        model.low[start + at] ^= (1 << bit) | byte;
        let result = boot(&mut model);
        if result.is_ok() {
            // What can differ without a refusal is ports, flags, and where the kernel goes: it is
            // the right one all the same.
            let said = Params::decode(model.params_page()).unwrap();
            let places = said.places(&[guest::LOW, guest::HIGH]).unwrap();
            let at = |range: Range| &model.low[range.start as usize..range.end() as usize];
            prop_assert_eq!(at(places.kernel.target), guest::bzimage());
            prop_assert_eq!(at(places.initrd.target), guest::initrd());
            prop_assert_eq!(at(places.cmdline.target), guest::CMDLINE);
        }
    }
}
