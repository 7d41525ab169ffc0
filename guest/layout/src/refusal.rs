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
    /// No disk for inputs and results, or nothing on it that PID 1 understands.
    Exchange = 0x0d, "its results are sealed, and there is no disk for them that this PID 1 understands: start the image with --output";
    /// The inputs are not in memory.
    Inputs = 0x0e, "its inputs cannot be copied to its memory: give it more, or less of them";
    /// The results are not on the disk.
    Results = 0x0f, "its workload has ended, but its results cannot be sealed onto the disk for them: they are too large, too many or too deep in folders, or the security processor gives no report";
    /// No cgroup with bounds on memory and processes.
    Limits = 0x10, "the workload's memory and processes cannot be bounded: the kernel has no cgroups (version 2, with memory and pids)";
    /// Initdata is not there, or not the text that HOST_DATA is of, or says not what it has to.
    Initdata = 0x11, "its initdata is not there, or is not what the guest was launched with: start the image with `casemate run`, with --kbs and, where the image asks for it, --kbs-key";
    /// Nobody answers for the broker.
    BrokerUnreachable = 0x12, "its key broker cannot be reached, or ends every connection: does it run, and does --kbs lead to it?";
    /// Another key than the pinned one.
    BrokerKey = 0x13, "whoever answers for its key broker has another public key than the image, or its initdata, names: it was told nothing";
    /// No answer of the protocol.
    BrokerAnswer = 0x14, "what answers for its key broker does not speak TLS 1.3, HTTP/1.1 or the key broker protocol as PID 1 does";
    /// The broker does not believe the evidence.
    BrokerProof = 0x15, "its key broker does not believe what the guest proves: the broker's log says why, and `casemate policy ask` explains it";
    /// The broker's policy says no.
    BrokerDenied = 0x16, "its key broker refuses a secret that the image names: the policy has no grant for it, or the grant's window or uses are over; the broker's log says which";
    /// The broker has no such secret.
    BrokerNoSecret = 0x17, "its key broker has no secret of a name that the image asks for: put it there with `casemate kbs put`";
    /// The broker failed or has too much to do.
    BrokerFailed = 0x18, "its key broker failed, or has too much to do: its log says why";
    /// It took too long.
    BrokerSlow = 0x19, "its key broker did not give its secrets in the time that PID 1 waits for them";
    /// The broker's time is before the manifest's.
    BrokerClock = 0x1a, "its key broker's clock is before the time that the image was made at: set it";
    /// No report.
    Report = 0x1b, "the security processor gives no report, so that nothing can be proven to its key broker";
    /// Secrets cannot be put into memory.
    Secrets = 0x1c, "its secrets cannot be put into memory: give it more, or a kernel whose tmpfs has noswap (Linux 6.3)";
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
