//! What the boot code parses: parameters, the host's memory map, bzImage, ELF.
//!
//! An input is a list of edits (`offset`, `value`) of a file that passes, or with an odd first byte
//! the file itself.

use casemate_kernel::{BzImage, Elf, Kernel};
use casemate_layout::{
    Blob, KernelKind, MAP_BYTES, MemoryMap, Mode, Params, Range, Ranges, map, ports,
};

const MIB: u64 = 1 << 20;

/// The measured parameters and the host's memory map: what decodes is canonical, and whatever both
/// say, nothing is read outside the window or written where it would do harm. The input is edits of
/// both, the parameters first.
pub fn params(data: &[u8]) {
    let bytes = file(data, || [&good_params().encode()[..], &good_map().encode()].concat());
    let (mut page, mut map_bytes) = ([0; map::PAGE_BYTES], [0; MAP_BYTES]);
    for (to, from) in page.iter_mut().chain(&mut map_bytes).zip(bytes) {
        *to = from;
    }
    let map = MemoryMap::decode(&map_bytes, 48);
    if let Ok(map) = map {
        assert_eq!(map.encode(), map_bytes, "the map is not canonical");
        assert!(map.ram().iter().all(|range| !range.overlaps(map::DEVICE_HOLE)));
        assert!(map.ram().windows(2).all(|pair| pair[0].end() <= pair[1].start));
    }
    let Ok(params) = Params::decode(&page) else { return };
    assert_eq!(params.encode(), page, "not canonical");
    assert_eq!(params.check(), Ok(()));
    let Ok(map) = map else { return };
    let Ok(places) = params.places(map.ram()) else { return };
    let in_ram = |range: Range| map.ram().iter().any(|ram| ram.contains(range));
    assert!(in_ram(places.window) && in_ram(params.kernel_memory));
    for place in [&places.kernel, &places.initrd, &places.cmdline, &places.acpi] {
        if place.target.size == 0 {
            continue;
        }
        assert!(places.window.contains(place.staged), "read outside staging");
        assert!(in_ram(place.target), "written outside RAM");
        for own in map::launched(Mode::Snp).iter().chain(&[
            map::SCRATCH,
            map::VIDEO,
            places.window,
            params.kernel_memory,
        ]) {
            assert!(!place.target.overlaps(*own), "{place:?} is written over {own:?}");
        }
    }
}

/// bzImage: whatever is accepted is entered inside the memory that it is said to use.
pub fn bzimage(data: &[u8]) {
    let file = file(data, good_bzimage);
    let parsed = BzImage::parse(&file);
    if let (Err(error), true) = (parsed, file.get(0x202..0x206) == Some(b"HdrS")) {
        assert!(!error.to_string().contains("neither"), "a bzImage was not recognised");
    }
    let Ok(image) = parsed else { return };
    assert_eq!(Kernel::parse(&file), Ok(Kernel::BzImage(image)));
    assert!(image.setup_bytes < file.len() as u64);
    for load in [MIB, 16 * MIB, image.preferred, map::DEVICE_HOLE.start, u64::MAX - 4096] {
        let Ok(placed) = image.place(load) else { continue };
        assert!(placed.used.contains(Range { start: placed.entry, size: 1 }));
        assert!(placed.used.checked_end().is_some());
        let code = file.len() as u64 - image.setup_bytes;
        assert!(placed.used.contains(Range { start: load, size: code }), "code outside");
    }
}

/// ELF: segments are inside the file, above 1 MiB, below the device hole, and do not overlap.
pub fn elf(data: &[u8]) {
    let file = file(data, good_elf);
    let Ok(elf) = Elf::parse(&file) else { return };
    let segments: Vec<_> =
        elf.segments(&file).map(|segment| segment.expect("parsed before")).collect();
    let within = Range { start: map::HIGH_START, size: map::DEVICE_HOLE.start - map::HIGH_START };
    for (index, segment) in segments.iter().enumerate() {
        assert!(segment.file.checked_end().is_some_and(|end| end <= file.len() as u64));
        assert!(within.contains(segment.memory) && segment.file.size <= segment.memory.size);
        let others = segments.iter().take(index);
        assert!(others.into_iter().all(|other| !other.memory.overlaps(segment.memory)));
    }
    assert!(segments.len() <= usize::from(casemate_kernel::elf::MAX_SEGMENTS));
    let entry = Range { start: elf.entry, size: 1 };
    assert!(segments.iter().any(|segment| segment.memory.contains(entry)));
}

pub(crate) fn file(data: &[u8], good: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let Some((first, rest)) = data.split_first() else { return Vec::new() };
    if first % 2 == 1 {
        return rest.to_vec();
    }
    let mut file = good();
    let (edits, _) = rest.as_chunks::<3>();
    for [low, high, value] in edits {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % file.len();
        if let Some(byte) = file.get_mut(at) {
            *byte = *value;
        }
    }
    file
}

fn good_params() -> Params {
    let blob = |size| Blob { size, sha256: [3; 32] };
    Params {
        mode: Mode::Snp,
        sha_extensions: true,
        c_bit: 51,
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start,
        kernel_kind: KernelKind::BzImage,
        kernel_memory: Range { start: 16 * MIB, size: 40 * MIB },
        initrd_limit: 1 << 31,
        kernel: blob(11 * MIB),
        initrd: blob(MIB + 1),
        cmdline: blob(30),
        acpi: blob(0x800),
    }
}

fn good_map() -> MemoryMap {
    let mut ram = Ranges::default();
    ram.push(Range { start: 0, size: 128 * MIB }).expect("room");
    ram.push(Range { start: 4096 * MIB, size: 128 * MIB }).expect("room");
    MemoryMap::new(ram, 48).expect("a map")
}

/// A file of `size` bytes with `parts` in it.
fn with_parts(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; size];
    for (at, part) in parts {
        if let Some(place) = file.get_mut(*at..*at + part.len()) {
            place.copy_from_slice(part);
        }
    }
    file
}

fn good_bzimage() -> Vec<u8> {
    with_parts(
        0x2000,
        &[
            (0x1f1, &[1]),
            (0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]),
            (0x202, b"HdrS\x0f\x02"),
            (0x211, &[1]),
            (0x22c, &0x7fff_ffff_u32.to_le_bytes()),
            (0x230, &0x20_0000_u32.to_le_bytes()),
            (0x234, &[1, 21, 1, 0]),
            (0x258, &0x100_0000_u64.to_le_bytes()),
            (0x260, &0x20_0000_u32.to_le_bytes()),
        ],
    )
}

pub(crate) fn good_elf() -> Vec<u8> {
    let header = |offset: u64, address: u64| -> Vec<u8> {
        let fields = [offset, 0, address, 0x400, 0x800, 0x1000];
        [1_u32, 5]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .chain(fields.iter().flat_map(|word| word.to_le_bytes()))
            .collect()
    };
    with_parts(
        0x1000,
        &[
            (0, b"\x7fELF\x02\x01\x01"),
            (0x10, &[2, 0, 62, 0]),
            (0x18, &0x100_0000_u64.to_le_bytes()),
            (0x20, &[64]),
            (0x34, &[64, 0, 56, 0, 2, 0]),
            (64, &header(0x200, 0x100_0000)),
            (120, &header(0x600, 0x200_0000)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_edits_start_from_is_accepted() {
        let params = Params::decode(&good_params().encode()).unwrap();
        assert!(params.places(good_map().ram()).is_ok());
        assert!(BzImage::parse(&good_bzimage()).is_ok());
        assert!(Elf::parse(&good_elf()).is_ok());
    }
}
