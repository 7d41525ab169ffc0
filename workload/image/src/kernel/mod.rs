//! A kernel and the modules that a guest needs of it, in the order in which they are loaded.
//!
//! Both are somebody's: a file and a folder, or a Debian package. `modules.dep` is made where a
//! package is installed, so it is not there; what a module needs it says itself.

mod ar;
mod deb;
mod modinfo;
mod store;

pub use ar::{Archive, Member};
pub use modinfo::{ModInfo, example, read as modinfo, release_of_kernel};
pub use store::{Store, module_name};

use crate::{ImageError, Spool};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// Largest kernel, uncompressed ELF files with symbols included.
const MAX_KERNEL: u64 = 256 << 20;
/// Longest list of modules.
const MAX_LIST: u64 = 4 << 20;
/// Files of a package that are put aside.
const MAX_PACKAGE: u64 = 2 << 30;
/// Modules of a guest, those included that others need.
const MAX_MODULES: usize = 99;

/// Bytes of them together, uncompressed: the initramfs is made of them in memory.
const MAX_ALL_MODULES: u64 = 256 << 20;

/// Whether a guest starts without a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It does not.
    Must,
    /// It does, and something is slower or missing.
    Helps,
}

/// What the guest's PID 1 uses, in the order of its use. A module that nobody uses is code for an
/// attacker, so whoever needs another one puts it here with its reason.
const WANTED: [(&str, Need); 10] = [
    // The root disk is a virtio function on PCI.
    ("virtio_pci", Need::Must),
    ("virtio_blk", Need::Must),
    // Hashes of dm-verity and checksums of EROFS: generic code, and the processor's own.
    ("sha256_generic", Need::Helps),
    ("sha256_ssse3", Need::Helps),
    ("crc32c_generic", Need::Helps),
    ("dm_mod", Need::Must),
    ("dm_verity", Need::Must),
    ("erofs", Need::Must),
    // The power button, and the device file through which it is seen.
    ("button", Need::Helps),
    ("evdev", Need::Helps),
];

/// What PID 1 uses beside that for a report of the security processor, in an image whose results
/// are sealed. Messages to the processor are AES-GCM: of modules where the kernel has no library of
/// it.
const FOR_REPORTS: [(&str, Need); 4] = [
    ("ghash_generic", Need::Helps),
    ("gcm", Need::Helps),
    ("tsm_report", Need::Helps),
    ("sev_guest", Need::Helps),
];

/// What PID 1 uses beside that to reach a key broker.
const FOR_SECRETS: [(&str, Need); 1] = [("vmw_vsock_virtio_transport", Need::Must)];

/// What a guest does, as far as its modules depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// It runs a workload.
    #[default]
    Workload,
    /// It also gets reports of the security processor.
    Reports,
    /// It also asks a key broker for secrets, which wants a report and is reached by a socket
    /// device.
    Secrets,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'p> {
    /// A kernel file, and the folder of its modules (`/lib/modules/RELEASE`); without one, all that
    /// is needed is built in.
    Files {
        /// bzImage, or ELF.
        kernel: &'p Path,
        /// The folder.
        modules: Option<&'p Path>,
    },
    /// A Debian package `linux-image-…`.
    Package(&'p Path),
}

/// A kernel with the modules that a guest needs.
#[derive(Debug)]
pub struct Kernel {
    /// Its file.
    pub file: Vec<u8>,
    /// The modules, in the order in which they are loaded.
    pub modules: Vec<Module>,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, as `/proc/modules` has it.
    pub name: String,
    /// Its file, uncompressed.
    pub file: Vec<u8>,
}

/// Reads a kernel and the modules that a guest needs of it. A package's files are put aside in
/// `folder` meanwhile, without a name.
///
/// # Errors
/// [`ImageError`] with the file at fault; [`ImageError::Kernel`] also for a kernel that has not
/// what a guest needs.
pub fn read(origin: Origin<'_>, purpose: Purpose, folder: &Path) -> Result<Kernel, ImageError> {
    let failed = |e: casemate_files::FileError| ImageError::Source(e.to_string());
    let (file, store) = match origin {
        Origin::Files { kernel, modules } => {
            let file = casemate_files::read(kernel, MAX_KERNEL).map_err(failed)?;
            (file, modules.map_or_else(|| Ok(Store::of_nothing()), Store::of_folder)?)
        }
        Origin::Package(path) => {
            let stream = casemate_files::open(path).map_err(failed)?;
            package(stream, Spool::new(folder, MAX_PACKAGE)?)?
        }
    };
    let modules = needed(&store, purpose, release_of_kernel(&file))?;
    Ok(Kernel { file, modules })
}

/// The kernel and all modules of a Debian package.
///
/// # Errors
/// [`ImageError`].
pub fn package(stream: impl Read, spool: Spool) -> Result<(Vec<u8>, Store), ImageError> {
    deb::read(stream, spool)
}

/// The modules that a guest needs, each behind those that it needs itself. `release` is the
/// kernel's where it is known: modules of another one would not be loaded.
///
/// # Errors
/// [`ImageError::Kernel`] with the module.
pub fn needed(
    store: &Store,
    purpose: Purpose,
    release: Option<&str>,
) -> Result<Vec<Module>, ImageError> {
    needed_within(store, purpose, release, MAX_ALL_MODULES)
}

fn needed_within(
    store: &Store,
    purpose: Purpose,
    release: Option<&str>,
    most: u64,
) -> Result<Vec<Module>, ImageError> {
    let mut order = Vec::new();
    let mut room = most;
    let mut seen = BTreeSet::new();
    let (reports, secrets) = match purpose {
        Purpose::Workload => (&[][..], &[][..]),
        Purpose::Reports => (&FOR_REPORTS[..], &[][..]),
        Purpose::Secrets => (&FOR_REPORTS[..], &FOR_SECRETS[..]),
    };
    for (name, need) in WANTED.iter().chain(reports).chain(secrets).copied() {
        let there = store.is_built_in(name) || store.module(name)?.is_some();
        if there || need == Need::Must {
            add(store, release, name, &mut room, &mut seen, &mut order)?;
        }
    }
    Ok(order)
}

/// Adds a module behind all that it needs. A list in place of recursion: the files say what needs
/// what, and may say it in a circle, which ends here as a module that is there already.
fn add(
    store: &Store,
    release: Option<&str>,
    name: &str,
    room: &mut u64,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> Result<(), ImageError> {
    enum Step {
        Look(String),
        Put(Module),
    }
    let mut left = vec![Step::Look(name.to_owned())];
    while let Some(step) = left.pop() {
        let name = match step {
            Step::Put(module) => {
                order.push(module);
                continue;
            }
            Step::Look(name) => name,
        };
        if store.is_built_in(&name) || !seen.insert(name.clone()) {
            continue;
        }
        if seen.len() > MAX_MODULES {
            return Err(ImageError::kernel(name, "a guest would need more than 99 modules"));
        }
        let Some(file) = store.module(&name)? else {
            let why = "the kernel has this module neither built in nor as a file";
            return Err(ImageError::kernel(name, why));
        };
        *room = room.checked_sub(crate::bytes::len(&file)).ok_or_else(|| {
            let most = MAX_ALL_MODULES >> 20;
            ImageError::kernel(&name, format!("with it, modules have more than {most} MiB"))
        })?;
        let info = modinfo(&file).filter(|info| info.name == name);
        let info = info.ok_or_else(|| {
            ImageError::kernel(&name, "its file is no module of this name, or says no kernel")
        })?;
        if let Some(release) = release.filter(|release| *release != info.release) {
            let why = format!(
                "it is a module of the kernel {}, and the kernel is {}",
                casemate_foreign_text::value(&info.release),
                casemate_foreign_text::value(release)
            );
            return Err(ImageError::kernel(name, why));
        }
        // The last one pushed is the next one taken.
        left.push(Step::Put(Module { name, file }));
        left.extend(info.depends.into_iter().rev().map(Step::Look));
    }
    Ok(())
}

/// All that `from` has, if it is not more than `most`.
fn bounded(from: &mut dyn Read, most: u64, name: &str) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(ImageError::Compression)?;
    if crate::bytes::len(&bytes) > most {
        return Err(ImageError::kernel(name, format!("it has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the builder's memory: each module may be large, but not all of them.
    #[test]
    fn modules_have_a_bound_together() {
        let mut spool = Spool::new(&std::env::temp_dir(), 1 << 20).unwrap();
        let mut store = Store::default();
        store.built_in(b"virtio_pci.ko\nvirtio_blk.ko\nerofs.ko\n");
        let mut size = 0;
        for name in ["dm_mod", "dm_verity"] {
            let file = example(format!("depends=\0name={name}\0vermagic=6.12 SMP \0").as_bytes());
            size += crate::bytes::len(&file);
            let content = spool.take(&mut &file[..], 1 << 20).unwrap();
            store.add_spooled(&format!("{name}.ko"), content).unwrap();
        }
        store.keep(spool);
        assert_eq!(needed_within(&store, Purpose::Workload, None, size).unwrap().len(), 2);
        let refused =
            needed_within(&store, Purpose::Workload, None, size - 1).unwrap_err().to_string();
        assert!(refused.starts_with("dm_verity: with it"), "{refused}");
    }
}
