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
    /// The process of a network device.
    Network,
    /// The keeper of a key broker.
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
                "the kernel, by the limit of the VM's control group (version 2, the least of it and \
                 those above), which `casemate run` compares and which is without end where there is \
                 none. That is the group that `[cgroup]` has made for the VM's processes, beside which \
                 the supervisor and its janitors stay where they were started; else the one that \
                 `casemate run` is started in, with all of them (`systemd-run --scope` makes one)"
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
                 it was opened. This version has disks, network devices, which have two queues, a socket \
                 device, which has three, a console, which has two, and a source of random numbers, \
                 which has one; of other kinds it has none, and refuses a configuration that names any"
            }
            Self::Network => {
                "the process of each `net` device, on every frame of the guest: it asks once for each new \
                 flow. What it cannot read it refuses, unless the whole section is `any`; \
                 docs/network.md has what a guest's link needs and is sent always. A `net` device that \
                 another program serves keeps no such rule: beside one `casemate run` admits only `any`"
            }
            Self::Broker => {
                "the keeper of `casemate kbs serve`, which has the secrets, for each secret that a guest \
                 asks for"
            }
        }
    }
}
