//! Faults of the memory map, the one thing that the boot code believes of the host at all: each
//! rule broken singly, and a map that changes after it was read. That no address from it is
//! followed before it is checked shows in every guest ending with the code of its own rule.

use crate::session::{Guest, KERNEL_REACHED, session};
use casemate_layout::Termination::{
    self, MapAddress, MapDevices, MapForm, MapLow, MapOrder, MapPages, MapTooSmall,
};
use casemate_layout::map;
use std::fmt::Write as _;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Ranges of RAM, as start and size.
type Claim<'a> = &'a [(u64, u64)];

/// All that the guest has.
const LOW: (u64, u64) = (0, 64 * MIB);

/// The bytes from the number of ranges on, in hexadecimal, for the host's page.
fn bytes(ranges: Claim<'_>, count: u32) -> String {
    let numbers =
        ranges.iter().flat_map(|(start, size)| [*start, *size]).flat_map(u64::to_le_bytes);
    count.to_le_bytes().into_iter().chain(numbers).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn poke(offset: u64, bytes: &str) -> String {
    format!("echo '{:x} {bytes}' >/sys/kernel/debug/snpemu/poke", map::HOST_MAP.start + offset)
}

fn claim(ranges: Claim<'_>) -> String {
    poke(12, &bytes(ranges, u32::try_from(ranges.len()).unwrap()))
}

fn wrong_maps() -> Vec<(&'static str, String, Termination)> {
    let hole = map::DEVICE_HOLE.start;
    let page = |start: u64| claim(&[LOW, (start, 0x1000)]);
    vec![
        ("no map", poke(0, &"0".repeat(32)), MapForm),
        ("another version", poke(8, "02"), MapForm),
        ("more ranges than a map has", poke(12, &bytes(&[LOW], 33)), MapForm),
        ("bytes behind the last range", poke(12, &bytes(&[LOW, (GIB, MIB)], 1)), MapForm),
        ("a part of a page", claim(&[LOW, (GIB, 0x1001)]), MapPages),
        ("an empty range", claim(&[LOW, (GIB, 0)]), MapPages),
        ("not sorted", claim(&[(GIB, MIB), LOW]), MapOrder),
        ("overlapping", claim(&[LOW, (64 * MIB - 0x1000, MIB)]), MapOrder),
        ("above 46 bits", page(1 << 46), MapAddress),
        ("above the processor's 40 bits", page(1 << 40), MapAddress),
        ("where the C-bit is", page(1 << 39), MapAddress),
        ("around the end of all addresses", claim(&[LOW, (4 * GIB, u64::MAX - 0xfff)]), MapAddress),
        ("into the device hole", claim(&[(0, hole + 0x1000)]), MapDevices),
        ("over the device hole", claim(&[(0, 8 * GIB)]), MapDevices),
        ("the local APIC", page(map::LOCAL_APIC.start), MapDevices),
        ("the IOAPIC", page(map::IOAPIC.start), MapDevices),
        ("ECAM", page(map::ECAM.start), MapDevices),
        ("launched pages outside", claim(&[(MIB, 63 * MIB)]), MapLow),
        ("the boot code outside", claim(&[(0, 0x1_0000), (MIB, 63 * MIB)]), MapLow),
        ("too little memory", claim(&[(0, 17 * MIB)]), MapTooSmall),
    ]
}

#[test]
fn each_wrong_map_of_the_host_ends_the_guest_with_the_code_of_its_rule() {
    let maps = wrong_maps();
    let cases: Vec<_> = maps.iter().flat_map(|case| [(1, case), (2, case)]).collect();
    let guests: Vec<Guest> = cases
        .iter()
        .map(|(vcpus, (name, before, _))| Guest {
            name: (*name).to_owned(),
            fault: "poke:1".into(),
            before: before.clone(),
            vcpus: *vcpus,
            ..Guest::default()
        })
        .collect();
    let (ended, _) = session("snp-maps", "", &guests);
    let mut wrong = Vec::new();
    for ((vcpus, (name, _, code)), ended) in cases.iter().zip(ended) {
        println!("{name:32} {vcpus} vCPU, status {}: {}", ended.status, ended.said);
        if !ended.said.contains(code.sentence()) || ended.happened != 1 || ended.status != 3 {
            wrong.push(format!("{name}, {vcpus} vCPUs: {ended:?}, not {code:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A map that lies, and one that would pass and is of more memory than there is: whichever the
/// guest found instead, it would not reach its kernel as if nothing had been.
#[test]
fn a_map_that_the_host_changes_after_it_was_read_changes_nothing() {
    let others = [
        ("a map over the device hole", claim(&[(0, 8 * GIB)])),
        ("a map of less memory", claim(&[(0, 48 * MIB)])),
        ("no map", poke(0, &"0".repeat(64))),
    ];
    let guests: Vec<Guest> = others
        .iter()
        .flat_map(|(name, before)| [(1, name, before), (2, name, before)])
        .map(|(vcpus, name, before)| Guest {
            name: (*name).to_owned(),
            fault: "poke-late:1".into(),
            before: before.clone(),
            after: "dmesg -c | grep -c 'poke: the guest looks again'".into(),
            vcpus,
            ..Guest::default()
        })
        // The copy has the map's magic, and behind it what the host put there meanwhile: it is the
        // copy that is checked.
        .chain([Guest {
            name: "over the device hole while it is read".into(),
            fault: "poke-during:1".into(),
            before: others[0].1.clone(),
            vcpus: 1,
            ..Guest::default()
        }])
        .collect();
    let (ended, output) = session("snp-late-maps", "", &guests);
    let mut wrong = Vec::new();
    for (guest, ended) in guests.iter().zip(ended) {
        println!("{:40} {} vCPU: {}", guest.name, guest.vcpus, ended.said);
        let (said, again) = match guest.fault.as_str() {
            "poke-late:1" => (KERNEL_REACHED, "0"),
            _ => (MapDevices.sentence(), ""),
        };
        if !ended.said.contains(said) || ended.after != again || ended.happened != 1 {
            wrong.push(format!("{}: {ended:?}", guest.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", output.log);
}
