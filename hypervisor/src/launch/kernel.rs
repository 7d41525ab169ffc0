//! What kind of kernel a file is, and where it goes.
//!
//! The parser is the boot code's ([`casemate_kernel`]): the guest checks the image again, from the bytes it has hashed; here it
//! tells the user what is wrong before anything is started.

use casemate_kernel::{Kernel, KernelError};

/// A kernel, as far as its placement needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// A bzImage with a 64-bit entry.
    BzImage {
        /// Bytes that the kernel needs from where it is loaded (`init_size`).
        memory: u64,
        /// Where it wants to be loaded (`pref_address`).
        address: u64,
        /// Bytes of the file before the protected-mode part.
        setup: u64,
    },
    /// An ELF vmlinux.
    Elf {
        /// First physical address after the last segment.
        end: u64,
    },
}

/// Recognises a kernel.
///
/// # Errors
/// [`KernelError`].
pub fn recognise(file: &[u8]) -> Result<KernelKind, KernelError> {
    Ok(match Kernel::parse(file)? {
        Kernel::BzImage(image) => KernelKind::BzImage {
            memory: image.init_size,
            address: image.preferred,
            setup: image.setup_bytes,
        },
        Kernel::Elf(elf) => {
            let mut end = 0;
            for segment in elf.segments(file) {
                end = segment?.memory.end().max(end);
            }
            KernelKind::Elf { end }
        }
    })
}
