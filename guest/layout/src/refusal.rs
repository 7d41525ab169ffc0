//! Why PID 1 of a workload refused to start it.

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why PID 1 refused to go on. The code is one byte, written to
        /// [`REFUSAL_PORT`](crate::ports::REFUSAL_PORT) before the guest switches itself off. It
        /// says nothing of the workload, so it is told whatever the image lets the console have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Refusal { $($(#[doc = $doc])* $name = $code,)* }

        impl Refusal {
            /// All of them, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is sent.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// From a code that a guest gave.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// What happened, and what to do.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

refusals! {
    /// The word `casemate.root=` of the command line is missing, double or malformed.
    Cmdline = 0x01, "the kernel command line does not name one root disk: start the image as it was built";
    /// A kernel file system cannot be mounted.
    Mount = 0x02, "a file system of the kernel (proc, sys, dev) cannot be mounted: the kernel lacks it";
    /// A module of the initramfs cannot be loaded.
    Module = 0x03, "a kernel module of the initramfs cannot be loaded: is it of this kernel?";
    /// No disk with the serial number came within the time.
    NoDisk = 0x04, "there is no disk with the serial number casemate-root: give the guest its root disk first";
    /// The device mapper refused.
    DeviceMapper = 0x05, "the device mapper refuses the root disk: it is smaller than its image, or the kernel has no dm-verity with panic_on_error (Linux 6.12)";
    /// The first block does not come to the root hash.
    RootHash = 0x06, "the root disk is not the measured one: its first block, or the tree above it, was changed";
    /// The first block cannot be read.
    RootRead = 0x07, "the root disk cannot be read";
    /// The file system cannot be mounted.
    RootMount = 0x08, "the root disk is proven, but its file system cannot be mounted: the kernel lacks EROFS";
    /// The manifest cannot be read or understood.
    Manifest = 0x09, "the manifest in the root disk cannot be read by this PID 1: build the image again with one version";
    /// A file system of the workload cannot be mounted.
    Prepare = 0x0a, "a folder of the workload's (/dev, /proc, /run, /sys, /tmp) cannot be prepared: the root disk lacks it, or memory is short";
    /// A door stays open.
    Doors = 0x0b, "the kernel does not let itself be closed (modules, kexec, core dumps, settings): nothing was started";
    /// The program cannot be executed.
    Program = 0x0c, "the workload's program cannot be executed";
    /// PID 1 failed otherwise.
    Internal = 0x7f, "PID 1 stopped at a failure that it has no word for: please report it";
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn a_code_is_read_back_and_another_is_none() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(*refusal));
        }
        assert_eq!(Refusal::from_code(0), None, "nothing was refused");
        assert_eq!(Refusal::from_code(0xff), None);
    }
}
