//! The parts of Casemate that ask the engine and act on its answer, in the words of the reference.
//! Which of them enforces what is in `enforced`.

/// The part of Casemate that enforces a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcer {
    /// The supervisor, about the machine.
    HostAtStart,
    /// The supervisor, about the plan and the configuration.
    Start,
    /// The kernel; the supervisor compares.
    ControlGroup,
    /// The kernel; the supervisor compares.
    OpenFiles,
    /// The supervisor, by refusing what nobody can keep.
    StartWithoutFacts,
    /// The vmm process.
    PageStates,
    /// The verifier.
    Verifier,
    /// The supervisor, about what it has opened for devices.
    Devices,
    /// Nobody yet: nothing that a configuration can say needs it.
    Network,
    /// Nobody yet: no part releases secrets.
    Broker,
}

impl Enforcer {
    /// The text under `Enforced by` in the reference.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::HostAtStart => {
                "`casemate run`, before a byte of the guest reaches the process that will run it, on \
                 what the kernel and the firmware of this host report. What they do not report is not known, and refused by \
                 every rule but `any`"
            }
            Self::Start => {
                "`casemate run`, before a byte of the guest reaches the process that will run it, on \
                 its configuration and its launch plan"
            }
            Self::ControlGroup => {
                "the kernel, by the limit that the control group `casemate run` is started in has \
                 (version 2, the least of it and those above; `systemd-run --scope` makes one). \
                 `casemate run` makes no group: it compares that limit, which is without end where \
                 there is none"
            }
            Self::OpenFiles => {
                "the kernel, by the resource limit that `casemate run` is started with (`ulimit -n`) \
                 and its processes inherit; `casemate run` compares it"
            }
            Self::StartWithoutFacts => {
                "`casemate run`, which refuses a confidential guest under any rule but `any`: KVM hands \
                 these requests to the firmware and tells nobody, so no other rule can be kept. A guest \
                 without protection has no security processor to ask"
            }
            Self::PageStates => "the vmm process, on each change that the guest asks for",
            Self::Verifier => {
                "`casemate attest verify --policy`, on a report whose signature and chain are good"
            }
            Self::Devices => {
                "`casemate run`, before a byte of the guest reaches the process that will run it and \
                 before any process of a device is started, on the devices of the configuration, each as \
                 it was opened. This version has disks, a socket device, which has three queues, and a \
                 source of random numbers, which has one; of other kinds it has none, and refuses a \
                 configuration that names any"
            }
            Self::Network => {
                "nothing yet: no guest has a network in this version, and a configuration that names \
                 one is refused. Planned for 0.2, with the process of the `net` device"
            }
            Self::Broker => {
                "nothing yet: this version releases no secrets. Planned for 0.2, with the key broker"
            }
        }
    }
}
