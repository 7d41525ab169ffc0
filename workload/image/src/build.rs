//! An image that boots: a kernel, an initramfs, a root disk that is proven by the kernel command
//! line, and in it the manifest.
//!
//! What follows from what, so that nothing goes round in a circle: the manifest names kernel and
//! initramfs by their hashes and lies in the root; the root's hash is a word of the command line;
//! kernel, initramfs and command line are what the launch digest covers. So the manifest never
//! holds a digest of a launch, and the initramfs knows nothing of the root.

use crate::folder::Rule;
use crate::kernel::Kernel;
use crate::path::names;
use crate::process::{self, Changes};
use crate::source::{self, Loaded, Options};
use crate::tree::{Kind, Meta, Node, Tree};
use crate::verity::{self, Verity};
use crate::{Dropped, ImageError, Limits, Spool, erofs, hashed, initramfs, oci};
use casemate_manifest::{
    Boot, Broker, Built, Console, DEBUG_WORD, MAX_SIZE, Manifest, Module, PATH, Results, RootDisk,
    SALT, Secret, VERSION,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// The layer that adds what an image needs to be a guest's root: later than any of the source.
const OWN_LAYER: u32 = u32::MAX;
/// What the guest mounts on: a root that is read-only must have the folders.
const MOUNT_POINTS: [(&str, u16); 5] =
    [("/dev", 0o755), ("/proc", 0o755), ("/run", 0o755), ("/sys", 0o755), ("/tmp", 0o1777)];

/// What is chosen about an image, beside its source: all that its bytes depend on beside source,
/// kernel and the version of this program. Kept beside the image, so that it can be built again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of several images, the one of this name.
    pub reference: Option<String>,
    /// Owners of a folder as they are.
    pub keep_owners: bool,
    /// When the files of a folder, and those that are added to any source, were changed.
    pub mtime: i64,
    /// What is written over the image's configuration.
    pub changes: Changes,
    /// What may go to the console.
    pub console: Console,
    /// For looking for faults.
    pub debug: bool,
    /// Keys to which results are sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// What the guest asks a key broker for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Which broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// Seconds since 1970 that the guest's clock is at least at.
    pub time_floor: u64,
}

/// An image that was built, but for the launch digests, which need more than this crate.
#[derive(Debug)]
pub struct Image {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The same, as it is in the root disk.
    pub manifest_bytes: Vec<u8>,
    /// The kernel command line.
    pub cmdline: String,
    /// The root disk, which was written.
    pub root: Verity,
    /// Files of the root disk.
    pub files: u64,
    /// What was left out of the source.
    pub dropped: Dropped,
}

/// Reads a source with these settings. `room` makes a place for an archive's own files.
///
/// # Errors
/// [`ImageError`].
pub fn load(
    source: &Path,
    settings: &Settings,
    spool: &mut Spool,
    room: impl FnOnce() -> Result<Spool, ImageError>,
) -> Result<Loaded, ImageError> {
    let options = Options {
        reference: settings.reference.as_deref(),
        rule: Rule { keep_owners: settings.keep_owners, mtime: settings.mtime },
        limits: Limits::default(),
    };
    source::load(source, &options, spool, room)
}

/// What a guest boots: the initramfs, and what the manifest says of it and of the kernel.
#[must_use]
pub fn boot(kernel: &Kernel, init: &[u8]) -> (Boot, Vec<u8>) {
    let initrd = initramfs::write(init, &kernel.modules);
    let module =
        |m: &crate::kernel::Module| Module { name: m.name.clone(), sha256: sha256(&m.file) };
    let boot = Boot {
        kernel: sha256(&kernel.file),
        initrd: sha256(&initrd),
        init: sha256(init),
        modules: kernel.modules.iter().map(module).collect(),
    };
    (boot, initrd)
}

/// Builds the image of a source that was read, with its root disk in `disk`, an empty file.
///
/// # Errors
/// [`ImageError`]; `disk` is of no use then.
pub fn build(
    loaded: Loaded,
    boot: Boot,
    settings: &Settings,
    spool: &mut Spool,
    disk: &File,
) -> Result<Image, ImageError> {
    let Loaded { mut tree, dropped, image } = loaded;
    let nothing = oci::Process::default();
    let config = image.as_ref().map_or(&nothing, |(_, config)| &config.config);
    let manifest = Manifest {
        version: VERSION,
        built: Built {
            casemate: env!("CARGO_PKG_VERSION").into(),
            image: image.as_ref().map(|(id, _)| format!("sha256:{}", hex(id))),
        },
        boot,
        process: process::resolve(&tree, spool, config, &settings.changes)?,
        console: settings.console,
        debug: settings.debug,
        results: Results { recipients: settings.recipients.clone() },
        secrets: settings.secrets.clone(),
        broker: settings.broker.clone(),
        time_floor: settings.time_floor,
    };
    let manifest_bytes = manifest.to_bytes()?;
    let own = Own { mtime: settings.mtime };
    own.folders(&mut tree, &manifest.process.working_dir)?;
    own.manifest(&mut tree, spool, &manifest_bytes)?;
    let written = erofs::write(&tree, spool, disk)?;
    let root = verity::append(disk, written.blocks, &SALT)?;
    let word = RootDisk { data_blocks: root.data_blocks, hash: root.root };
    let cmdline = cmdline(&word, settings.console, settings.debug);
    Ok(Image { manifest, manifest_bytes, cmdline, root, files: written.inodes, dropped })
}

/// The kernel command line of an image.
///
/// The console is the host's to read. Where only PID 1 may write to it, or nobody, the kernel gets
/// none either: an oops prints registers, which may hold a secret. PID 1 finds the serial port by
/// itself. `random.trust_bootloader`: a seed in the boot parameters would be the host's.
/// `reboot=acpi panic=-1`: a guest that panics ends, see `DEFAULT_CMDLINE` of the hypervisor.
#[must_use]
pub fn cmdline(root: &RootDisk, console: Console, debug: bool) -> String {
    let mut words = vec!["reboot=acpi", "panic=-1", "random.trust_bootloader=off"];
    match (console, debug) {
        (_, true) => words.extend(["console=ttyS0", DEBUG_WORD]),
        (Console::Public, false) => words.extend(["console=ttyS0", "quiet"]),
        (Console::None | Console::Status, false) => words.extend(["console=null", "quiet"]),
    }
    format!("{} {root}", words.join(" "))
}

/// What is added to a source: all root's, and of one time.
struct Own {
    mtime: i64,
}

impl Own {
    fn node(&self, mode: u16, kind: Kind) -> Node {
        Node { meta: Meta { mode, mtime: self.mtime, ..Meta::default() }, kind }
    }

    /// Folders that the guest mounts on or starts in, where the source has none.
    fn folders(&self, tree: &mut Tree, working_dir: &str) -> Result<(), ImageError> {
        for (path, mode) in MOUNT_POINTS.into_iter().chain([(working_dir, 0o755)]) {
            match tree.find(path.as_bytes()) {
                Some(id) if matches!(tree.node(id).kind, Kind::Directory(_)) => {}
                Some(_) => {
                    let why = "a guest needs a folder here, and this is none";
                    return Err(ImageError::entry(path.as_bytes(), why));
                }
                None => {
                    let path = path.as_bytes();
                    let id = tree.folder(&names(path)?, path, Some(OWN_LAYER))?;
                    let meta = Meta { mode, mtime: self.mtime, ..Meta::default() };
                    tree.describe(id, meta)?;
                }
            }
        }
        Ok(())
    }

    fn manifest(&self, tree: &mut Tree, spool: &mut Spool, bytes: &[u8]) -> Result<(), ImageError> {
        let path = PATH.as_bytes();
        let names = names(path)?;
        let (Some((file, folders)), Some(first)) = (names.split_last(), names.first()) else {
            debug_assert!(false, "the manifest has a path");
            return Ok(());
        };
        // Somebody else's would be covered by ours, or ours by a link of theirs.
        if tree.dentry(crate::NodeId::ROOT, first).is_some() {
            let why = "this name is Casemate's: the manifest lies here";
            return Err(ImageError::entry(b"/.casemate", why));
        }
        let folder = tree.add(self.node(0o755, Kind::Directory(BTreeMap::new())))?;
        debug_assert_eq!(folders.len(), 1, "one folder");
        tree.put(crate::NodeId::ROOT, first.clone(), folder, OWN_LAYER)?;
        let content = spool.take(&mut &*bytes, MAX_SIZE as u64)?;
        let node = tree.add(self.node(0o444, Kind::File(content)))?;
        tree.put(folder, file.clone(), node, OWN_LAYER)
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(&hashed::Digest::of(bytes).bytes())
}

/// Bytes in hexadecimal, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
