//! What a kernel module says of itself: the section `.modinfo` of its ELF file, strings `KEY=VALUE`
//! with a zero behind each (Linux `include/linux/moduleparam.h`, `__MODULE_INFO`).

/// What matters of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModInfo {
    /// Its name, as `/proc/modules` has it.
    pub name: String,
    /// The modules it needs.
    pub depends: Vec<String>,
    /// Release of the kernel it was built for.
    pub release: String,
}

/// Longest name of a module: `MODULE_NAME_LEN` is 64 bytes with a word for its length.
const MAX_NAME: usize = 56;
/// Modules that one needs, at most; sections of a file.
const MAX_DEPENDS: usize = 256;
const MAX_SECTIONS: usize = 4096;

/// Sizes and offsets of ELF-64 (System V ABI, chapter 4).
mod elf {
    pub const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
    pub const SECTIONS_AT: usize = 0x28;
    pub const SECTION_SIZE: usize = 0x3a;
    pub const SECTIONS: usize = 0x3c;
    pub const NAMES: usize = 0x3e;
    pub const HEADER: u16 = 64;
}

/// A name with `_` for `-`: files have both, the kernel only the first.
#[must_use]
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Reads the section; None where the file is no module that says its name and kernel.
#[must_use]
pub fn read(file: &[u8]) -> Option<ModInfo> {
    let info = section(file, b".modinfo")?;
    let value = |key: &str| {
        info.split(|byte| *byte == 0).find_map(|entry| {
            let rest = entry.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            str::from_utf8(rest).ok()
        })
    };
    let name = value("name").map(normal).filter(|name| is_name(name))?;
    let release = value("vermagic")?.split(' ').next()?.to_owned();
    let depends = value("depends").unwrap_or_default();
    let depends: Vec<String> =
        depends.split(',').filter(|name| !name.is_empty()).map(normal).collect();
    if depends.len() > MAX_DEPENDS || !depends.iter().all(|name| is_name(name)) {
        return None;
    }
    Some(ModInfo { name, depends, release })
}

/// Whether this can be a module's name: it becomes part of a path of the initramfs.
pub fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(good)
}

fn section<'f>(file: &'f [u8], wanted: &[u8]) -> Option<&'f [u8]> {
    if !file.starts_with(elf::MAGIC) || u16_at(file, elf::SECTION_SIZE)? != elf::HEADER {
        return None;
    }
    let count = usize::from(u16_at(file, elf::SECTIONS)?);
    if count > MAX_SECTIONS {
        return None;
    }
    let table = usize::try_from(u64_at(file, elf::SECTIONS_AT)?).ok()?;
    let header = |index: usize| {
        let from = table.checked_add(index.checked_mul(usize::from(elf::HEADER))?)?;
        file.get(from..from.checked_add(usize::from(elf::HEADER))?)
    };
    let contents = |header: &[u8]| {
        let from = usize::try_from(u64_at(header, 0x18)?).ok()?;
        let size = usize::try_from(u64_at(header, 0x20)?).ok()?;
        file.get(from..from.checked_add(size)?)
    };
    let names = contents(header(usize::from(u16_at(file, elf::NAMES)?))?)?;
    (0..count).find_map(|index| {
        let header = header(index)?;
        let name = names.get(usize::try_from(u32_at(header, 0)?).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next()?;
        if name == wanted { contents(header) } else { None }
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Release of a bzImage, as `uname -r` will say it; None for another kind of kernel (Linux
/// Documentation/arch/x86/boot.rst, `kernel_version`: an offset from 0x200 to a string).
#[must_use]
pub fn release_of_kernel(kernel: &[u8]) -> Option<&str> {
    if kernel.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = usize::from(u16_at(kernel, 0x20e)?);
    if at == 0 {
        return None;
    }
    let text = kernel.get(at.checked_add(0x200)?..)?;
    let end = text.iter().take(256).position(|byte| matches!(byte, b' ' | 0))?;
    str::from_utf8(text.get(..end)?).ok().filter(|release| !release.is_empty())
}

/// A file with this `.modinfo`, as small as one can be: for tests and the fuzzer's seeds.
#[doc(hidden)]
#[must_use]
pub fn example(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0";
    let mut file = vec![0; 64];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(to) = file.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    };
    let table = 64 + names.len() + info.len();
    put(0, elf::MAGIC);
    put(elf::SECTIONS_AT, &(table as u64).to_le_bytes());
    put(elf::SECTION_SIZE, &elf::HEADER.to_le_bytes());
    put(elf::SECTIONS, &2u16.to_le_bytes());
    file.extend(names);
    file.extend(info);
    for (name, at, size) in [(0u32, 64, names.len()), (1, 64 + names.len(), info.len())] {
        let mut header = [0; 64];
        for (from, bytes) in [
            (0, name.to_le_bytes().to_vec()),
            (0x18, (at as u64).to_le_bytes().to_vec()),
            (0x20, (size as u64).to_le_bytes().to_vec()),
        ] {
            if let Some(to) = header.get_mut(from..from + bytes.len()) {
                to.copy_from_slice(&bytes);
            }
        }
        file.extend(header);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_its_name_what_it_needs_and_of_which_kernel_it_is() {
        let file =
            example(b"license=GPL\0depends=dm-mod,dm-bufio\0name=dm_verity\0vermagic=6.12 x\0");
        let info = read(&file).unwrap();
        assert_eq!((info.name.as_str(), info.release.as_str()), ("dm_verity", "6.12"));
        assert_eq!(info.depends, ["dm_mod", "dm_bufio"]);
        for end in 0..file.len() {
            // Whatever is missing: no panic.
            let _ = read(&file[..end]);
        }
        assert_eq!(read(&file[..63]), None);
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_none() {
        for name in ["../init", "a/b", "", "a\nb"] {
            let file = example(format!("name={name}\0vermagic=1 \0").as_bytes());
            assert_eq!(read(&file), None, "{name}");
        }
    }

    #[test]
    fn the_release_of_a_kernel_ends_at_its_first_space() {
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        kernel[0x300..0x30c].copy_from_slice(b"6.12.1 (x) #");
        assert_eq!(release_of_kernel(&kernel), Some("6.12.1"));
        assert_eq!(release_of_kernel(&kernel[..0x300]), None);
    }
}
