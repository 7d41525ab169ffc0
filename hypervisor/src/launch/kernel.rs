//! What kind of kernel a file is, and where it goes.
//!
//! The parser is the boot code's ([`casemate_kernel`]): the guest checks the image again, from the bytes it has hashed; here it
//! tells the user what is wrong before anything is started.

use super::foreign::{Foreign, foreign, program};
use casemate_kernel::{BzImage, Kernel, KernelError};
use casemate_layout::map::HIGH_START;

/// A kernel, as far as its placement needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// A bzImage with a 64-bit entry.
    BzImage {
        /// Bytes that the kernel needs from where it is loaded (`init_size`).
        memory: u64,
        /// Where it is loaded.
        address: u64,
        /// Bytes of the file before the protected-mode part.
        setup: u64,
        /// What it takes besides.
        limits: Limits,
    },
    /// An ELF vmlinux.
    Elf {
        /// First physical address after the last segment.
        end: u64,
    },
}

/// What a bzImage says about the rest of its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Highest address of the initrd's last byte (`initrd_addr_max`).
    pub initrd: u64,
    /// Longest command line in bytes (`cmdline_size`); `None` when it does not say.
    pub cmdline: Option<u32>,
}

/// Why a file cannot be a guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KernelFault {
    /// A kernel with a fault, or a file that nobody knows.
    #[error(transparent)]
    Image(#[from] KernelError),
    /// A file of another kind.
    #[error("{0}")]
    Foreign(Foreign),
    /// It runs nowhere but where it cannot be loaded.
    #[error(
        "it can only run at {address:#x}, and its file, whose {setup} bytes of set-up code lie in front, would reach \
         below 1 MiB: use a kernel that can be relocated (CONFIG_RELOCATABLE) or one that prefers 2 MiB or higher"
    )]
    TooLow {
        /// Where it runs.
        address: u64,
        /// Bytes of the file before the protected-mode part.
        setup: u64,
    },
}

/// Recognises a kernel.
///
/// # Errors
/// [`KernelFault`].
pub fn recognise(file: &[u8]) -> Result<KernelKind, KernelFault> {
    // What a file is called by its owner says more than which field of a kernel it lacks. A set-up header counts as a
    // kernel, whatever stands in front of it.
    let kernel = Kernel::parse(file).map_err(|error| match (error, foreign(file)) {
        (KernelError::NotAKernel, Some(foreign)) => KernelFault::Foreign(foreign),
        (error, _) => error.into(),
    })?;
    match kernel {
        Kernel::BzImage(image) => Ok(KernelKind::BzImage {
            memory: image.init_size,
            address: address(&image)?,
            setup: image.setup_bytes,
            limits: Limits { initrd: image.initrd_max, cmdline: image.cmdline_max },
        }),
        Kernel::Elf(elf) => {
            if let Some(program) = program(file) {
                return Err(KernelFault::Foreign(program));
            }
            let mut end = 0;
            for segment in elf.segments(file) {
                end = segment?.memory.end().max(end);
            }
            Ok(KernelKind::Elf { end })
        }
    }
}

/// Where the protected-mode part is loaded: where it prefers. The boot code takes the file as one piece, so that the
/// set-up sectors lie in front; a kernel that prefers the very start of high memory is moved up, if it lets itself.
fn address(image: &BzImage) -> Result<u64, KernelFault> {
    let (address, setup) = (image.preferred, image.setup_bytes);
    if address >= HIGH_START + setup {
        return Ok(address);
    }
    match image.relocatable {
        true => Ok((HIGH_START + setup).next_multiple_of(image.alignment)),
        false => Err(KernelFault::TooLow { address, setup }),
    }
}
