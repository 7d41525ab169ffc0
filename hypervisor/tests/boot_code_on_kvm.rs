//! The boot code on /dev/kvm, before a kernel of a few instructions: what is right boots, and one
//! changed byte of anything is refused with its own code.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "tests"
)]

use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::launch::linux::BOOT_CODE;
use casemate_hypervisor::launch::{LaunchPlan, Outline};
use casemate_layout::{Params, Range, Termination, map, ports::mark};
use casemate_test_support::boot_code::{
    BOOTED, changed, elf, elf_of, flipped, good_plan, kernel, refused,
};
use casemate_test_support::guests::run;

#[test]
fn a_kernel_of_either_kind_is_entered_and_the_boot_is_marked() {
    // The last with RAM on both sides of the device hole.
    for (memory, kernel) in [("64M", kernel()), ("64M", elf()), ("3328M", kernel())] {
        let Some(ran) = run(&good_plan(memory, kernel)) else { return };
        assert_eq!(ran.stop, BOOTED, "{memory}");
        assert_eq!(ran.marks, [mark::BOOT_CODE, mark::ACCEPTED, mark::VERIFIED, mark::KERNEL]);
    }
}

/// Protects: kernels that other loaders of Linux boot. The shapes are those of real files: the
/// entry of Linux 7.3's vmlinux is in a segment that is readable and writable; tools leave PT_NULL
/// behind where they remove a segment; and linkers give read-only data, data and zeros segments of
/// their own.
#[test]
fn elf_kernels_are_entered_whatever_the_flags_and_however_many_headers_are_not_loaded() {
    let (text, data, other) = (0x100_0000, 0x120_0000, 0x140_0000);
    for (what, file) in [
        ("entry in data", elf_of(&[(5, text, false), (6, data, true)], 0)),
        ("no flags at all", elf_of(&[(0, text, true)], 0)),
        ("64 headers", elf_of(&[(5, text, true), (4, data, false), (6, other, false)], 20)),
        (
            "15 segments",
            elf_of(
                &{
                    let mut all = vec![(5, text, true)];
                    all.extend((1..15).map(|n| (6, text + n * 0x4000, false)));
                    all
                },
                0,
            ),
        ),
    ] {
        let Some(ran) = run(&good_plan("64M", file)) else { return };
        assert_eq!(ran.stop, BOOTED, "{what}");
    }
}

/// A bzImage that prefers the start of high memory and lets itself be moved is moved behind its own
/// set-up sectors.
#[test]
fn a_kernel_that_prefers_one_mib_and_can_move_boots() {
    let mut kernel = kernel();
    kernel[0x258..0x260].copy_from_slice(&0x10_0000_u64.to_le_bytes());
    let Some(ran) = run(&good_plan("64M", kernel)) else { return };
    assert_eq!(ran.stop, BOOTED);
}

#[test]
fn one_changed_byte_of_what_is_staged_is_refused_with_its_own_code() {
    let plan = good_plan("64M", kernel());
    let parts = [
        ("kernel", Termination::KernelHash),
        ("initrd", Termination::InitrdHash),
        ("command line", Termination::CmdlineHash),
        ("ACPI tables", Termination::AcpiHash),
    ];
    for (part, termination) in parts {
        let staged = plan.staging().iter().find(|staged| staged.what == part).unwrap();
        let size = staged.bytes.len();
        for at in (0..size).step_by((size / samples()).max(1)).chain([size - 1]) {
            let Some(ran) = run(&flipped(&plan, part, at)) else { return };
            assert_eq!(ran.stop, refused(termination), "{part}, byte {at}");
        }
    }
}

/// How many bytes of each part are flipped: the virtual host, where a VM is cheap, asks for many.
fn samples() -> usize {
    std::env::var("CASEMATE_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// Where the hash of each staged part is in the parameters.
fn hashes(plan: &LaunchPlan) -> Vec<(usize, Termination)> {
    let parameters = plan.pages().iter().find(|pages| pages.what == "parameters").unwrap();
    let place = |what| {
        let staged = plan.staging().iter().find(|staged| staged.what == what).unwrap();
        let hash = Outline::of(&staged.bytes).sha256;
        parameters.contents().windows(32).position(|part| part == hash).unwrap()
    };
    vec![
        (place("kernel"), Termination::KernelHash),
        (place("initrd"), Termination::InitrdHash),
        (place("command line"), Termination::CmdlineHash),
        (place("ACPI tables"), Termination::AcpiHash),
    ]
}

#[test]
fn one_changed_byte_of_a_hash_is_refused_with_the_code_of_what_it_is_the_hash_of() {
    let plan = good_plan("64M", kernel());
    for (start, termination) in hashes(&plan) {
        for at in (0..32).step_by((32 / samples()).max(1)) {
            let Some(ran) = run(&flipped(&plan, "parameters", start + at)) else { return };
            assert_eq!(ran.stop, refused(termination), "byte {at}");
        }
    }
}

const SHA_FLAG: usize = 0x10;

/// Ports and the choice of a hash function may differ without a refusal: the kernel is the right
/// one all the same. The mode may say SNP, whose first instructions end a plain guest.
#[test]
fn whatever_byte_of_the_parameters_changes_the_guest_ends_or_starts_the_same_kernel() {
    let plan = good_plan("64M", kernel());
    let (mut booted, mut refusals) = (0, 0);
    // Fields, which end at 0xe0, more densely than the zeros behind them.
    // The byte that turns SHA instructions on is left out: a KVM that emulates CPL 0 has none.
    let fields = (0..0xe0).step_by((0xe0 / (samples() * 5)).max(1)).filter(|at| *at != SHA_FLAG);
    for at in fields.chain((0xe0..4096).step_by(331)) {
        let Some(ran) = run(&flipped(&plan, "parameters", at)) else { return };
        match ran.stop {
            BOOTED => booted += 1,
            Stop::Shutdown => refusals += 1,
            Stop::BootRefused(code) => {
                assert_ne!(code, u32::from(Termination::Internal.code()), "{at:#x}");
                refusals += 1;
            }
            // Without a port for its marks and reports the boot code's refusal is silent; none was
            // seen so far.
            other => panic!("{at:#x}: {other:?}"),
        }
    }
    println!("parameters: {refusals} refused, {booted} booted the same kernel");
    assert!(refusals > booted * 4, "{refusals} refused, {booted} booted");
}

#[test]
fn one_changed_byte_of_the_parameters_never_starts_another_kernel() {
    let plan = good_plan("64M", kernel());
    // Magic, version, the kernel's memory, its limit, a size, a hash, reserved bytes.
    for at in [0, 8, 0x28, 0x30, 0x3e, 0x47, 0x49, 0x58, 0x77, 0x6e, 0xe0, 0x7ff, 0xfff] {
        let Some(ran) = run(&flipped(&plan, "parameters", at)) else { return };
        assert!(
            matches!(ran.stop, Stop::BootRefused(code) if code != u32::from(Termination::Internal.code())),
            "{at:#x}: {:?}",
            ran.stop
        );
    }
}

#[test]
fn the_boot_code_without_parameters_says_so() {
    let plan = changed(&good_plan("64M", kernel()), |what, bytes| {
        if what == "parameters" {
            bytes.fill(0);
        }
    });
    let Some(ran) = run(&plan) else { return };
    assert_eq!(ran.stop, refused(Termination::ParamsMagic));
}

/// A plan whose memory map says something else than what the VM has.
fn with_map(ranges: &[(u64, u64)], form: impl Fn(&mut [u8])) -> LaunchPlan {
    changed(&good_plan("64M", kernel()), |what, bytes| {
        if what == "memory map" {
            bytes[12] = ranges.len() as u8;
            bytes[16..].fill(0);
            for (at, number) in ranges.iter().flat_map(|(start, size)| [start, size]).enumerate() {
                bytes[16 + at * 8..][..8].copy_from_slice(&number.to_le_bytes());
            }
            form(bytes);
        }
    })
}

#[test]
fn a_wrong_memory_map_ends_the_guest_with_its_own_code() {
    const MIB: u64 = 1 << 20;
    let low = (0, 64 * MIB);
    let cases: &[(&[(u64, u64)], Termination)] = &[
        (&[low, (0x1_0000_0000, 0x1800)], Termination::MapPages),
        (&[low, (63 * MIB, MIB)], Termination::MapOrder),
        (&[low, (1 << 46, MIB)], Termination::MapAddress),
        (&[low, (map::LOCAL_APIC.start, 0x1000)], Termination::MapDevices),
        (&[(MIB, 63 * MIB)], Termination::MapLow),
        (&[(0, 17 * MIB)], Termination::MapTooSmall),
    ];
    for (ranges, termination) in cases {
        let Some(ran) = run(&with_map(ranges, |_| {})) else { return };
        assert_eq!(ran.stop, refused(*termination), "{ranges:x?}");
        assert!(ran.marks.is_empty(), "it went on");
    }
    for at in [0, 8, 0x2f, 0x20f] {
        let Some(ran) = run(&with_map(&[low], |bytes| bytes[at] ^= 0x40)) else { return };
        assert_eq!(ran.stop, refused(Termination::MapForm), "byte {at:#x}");
    }
}

/// memtest86+ is such a kernel: it cannot move, and its code belongs at 1 MiB, with no room for
/// set-up sectors in front.
#[test]
fn a_kernel_that_runs_at_1_mib_and_nowhere_else_boots() {
    let mut file = kernel();
    file[0x234] = 0;
    file[0x258..0x260].copy_from_slice(&0x10_0000_u64.to_le_bytes());
    let Some(ran) = run(&good_plan("64M", file)) else { return };
    assert_eq!(ran.stop, BOOTED);
}

/// A memory map that ends low memory right behind the kernel file, so that the initrd has no room
/// below 4 GiB. The boot code reaches it there through a window that it moves.
#[test]
fn an_initrd_above_4_gib_is_copied_there_and_checked() {
    let low = Range { start: 0, size: (62 << 20) + map::PAGE_SIZE };
    let high = Range { start: map::DEVICE_HOLE.end(), size: 256 << 20 };
    let plan = changed(&good_plan("3328M", kernel()), |what, bytes| match what {
        "parameters" => {
            let mut params = Params::decode(bytes.first_chunk().unwrap()).unwrap();
            params.kernel_memory = Range::between(params.kernel_memory.start, 62 << 20);
            params.initrd_limit = map::ADDRESS_LIMIT;
            let initrd = params.places(&[low, high]).unwrap().initrd.target;
            assert!(initrd.start >= high.start, "{initrd:?}");
            *bytes = params.encode().to_vec();
        }
        "memory map" => bytes[0x18..0x20].copy_from_slice(&low.size.to_le_bytes()),
        _ => {}
    });
    let Some(ran) = run(&plan) else { return };
    assert_eq!(ran.stop, BOOTED);
    let Some(ran) = run(&flipped(&plan, "initrd", 2999)) else { return };
    assert_eq!(ran.stop, refused(Termination::InitrdHash));
}

#[test]
fn an_elf_kernel_with_debugging_information_boots_and_brings_none_of_it() {
    let lean = good_plan("64M", elf());
    let fat = good_plan("64M", [elf(), vec![0xdb; 8 << 20]].concat());
    let staged = |plan: &LaunchPlan| {
        plan.staging().iter().find(|staged| staged.what == "kernel").unwrap().bytes.to_vec()
    };
    assert_eq!(staged(&fat), staged(&lean));
    let Some(ran) = run(&fat) else { return };
    assert_eq!(ran.stop, BOOTED);
}

#[test]
fn the_image_stays_within_its_place_and_its_budget_of_measured_pages() {
    assert!(BOOT_CODE.len() as u64 <= map::BOOT_CODE.size);
    let plan = good_plan("64M", kernel());
    let pages: u64 = plan.pages().iter().map(|pages| pages.range.size() / map::PAGE_SIZE).sum();
    // CPUID and secrets page, and one VMSA, under SNP.
    assert!(usize::try_from(pages).unwrap() + 3 <= map::PAGE_BUDGET);
}
