//! What the boot code parses: parameters, bzImage, ELF.
//!
//! An input is a list of edits (`offset`, `value`) of a file that passes, or with an odd first byte the file itself.

use casemate_kernel::{BzImage, Elf, Kernel};
use casemate_layout::{Blob, Flags, KernelKind, Mode, Params, Range, Ranges, map, ports};

const MIB: u64 = 1 << 20;

/// Parameters: what decodes is canonical, passes its check, and puts nothing where it would do harm.
pub fn params(data: &[u8]) {
    let mut page = [0; map::PAGE_BYTES];
    let bytes = file(data, || good_params().encode().to_vec());
    for (to, from) in page.iter_mut().zip(bytes) {
        *to = from;
    }
    let Ok(params) = Params::decode(&page) else { return };
    assert_eq!(params.encode(), page, "not canonical");
    assert_eq!(params.check(), Ok(()));
    let blobs = [&params.kernel, &params.initrd, &params.cmdline, &params.acpi];
    for blob in blobs.into_iter().filter(|blob| blob.is_present()) {
        let target = blob.target();
        assert!(params.staging.contains(blob.staged), "read outside staging");
        assert!(params.ram.cover(target), "written outside RAM");
        for own in [
            map::BOOT_TABLES,
            map::PARAMS,
            map::CPUID,
            map::SECRETS,
            map::BOOT_CODE,
            map::SCRATCH,
            params.staging,
        ] {
            assert!(!target.overlaps(own), "{target:?} is written over {own:?}");
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
    for start in [MIB, 16 * MIB - image.setup_bytes, map::DEVICE_HOLE.start, u64::MAX - 4096] {
        let place = Range { start, size: file.len() as u64 };
        let Ok(placed) = image.place(place) else { continue };
        assert!(placed.used.contains(place), "the file is not part of what it uses");
        assert!(placed.used.contains(Range { start: placed.entry, size: 1 }));
        assert!(placed.used.checked_end().is_some());
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
    let blob = |at, size, destination| Blob {
        staged: Range { start: at, size },
        destination,
        sha256: [3; 32],
    };
    let mut params = Params {
        mode: Mode::Snp,
        flags: Flags { sha_extensions: true, reclaim_staging: true },
        c_bit: 51,
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start,
        ram: Ranges::default(),
        launched: Ranges::default(),
        staging: Range { start: 32 * MIB, size: 32 * MIB },
        kernel_kind: KernelKind::BzImage,
        kernel: blob(32 * MIB, 11 * MIB, 16 * MIB),
        initrd: blob(48 * MIB, MIB + 1, 64 * MIB),
        cmdline: blob(50 * MIB, 30, map::CMDLINE.start),
        acpi: blob(51 * MIB, 0x800, map::ACPI.start),
    };
    let low = map::SECRETS.end() - map::BOOT_TABLES.start;
    params.ram.push(Range { start: 0, size: 128 * MIB }).expect("room");
    params.ram.push(Range { start: 4096 * MIB, size: 128 * MIB }).expect("room");
    params.launched.push(Range { start: map::BOOT_TABLES.start, size: low }).expect("room");
    params.launched.push(Range { start: map::BOOT_CODE.start, size: 0x5000 }).expect("room");
    params
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
        assert!(Params::decode(&good_params().encode()).is_ok());
        assert!(BzImage::parse(&good_bzimage()).is_ok());
        assert!(Elf::parse(&good_elf()).is_ok());
    }
}
