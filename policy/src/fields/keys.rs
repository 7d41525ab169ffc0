//! The facts that an input can hold.

macro_rules! keys {
    ($($name:ident = $path:literal,)*) => {
        /// A fact of the input, named by its dotted path.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is named by its path; the field reference describes it")]
        pub enum Key { $($name,)* }

        impl Key {
            /// Every key, in the order of the discriminants.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The dotted path of the fact in an input document.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }
        }
    };
}

keys! {
    HostSnp = "host.snp",
    HostFirmware = "host.firmware",
    HostKernel = "host.kernel",
    HostSmt = "host.smt",
    HostTsme = "host.tsme",
    HostCiphertextHiding = "host.ciphertext_hiding",
    HostAliasCheck = "host.alias_check",
    HostGeneration = "host.generation",
    HostChip = "host.chip_id",
    HostTcb = "host.tcb",
    HostFlaws = "host.flaws",
    LaunchProtection = "launch.protection",
    LaunchTenant = "launch.tenant",
    LaunchMeasurement = "launch.measurement",
    LaunchKernel = "launch.kernel",
    LaunchInitrd = "launch.initrd",
    LaunchCmdline = "launch.cmdline",
    LaunchIdKey = "launch.id_key",
    LaunchAuthorKey = "launch.author_key",
    LaunchGuestPolicy = "launch.guest_policy",
    LaunchGuestSvn = "launch.guest_svn",
    LaunchFamily = "launch.family_id",
    LaunchImage = "launch.image_id",
    LaunchHostData = "launch.host_data",
    ResourcesVcpus = "resources.vcpus",
    ResourcesMemory = "resources.memory_mib",
    ResourcesDisk = "resources.disk_mib",
    ResourcesDiskTotal = "resources.disk_total_mib",
    ResourcesQueues = "resources.queues",
    ResourcesHugePages = "resources.huge_pages",
    ResourcesPinned = "resources.pinned",
    ResourcesCpuPercent = "resources.cpu_percent",
    ResourcesCgroupMemory = "resources.cgroup_memory_mib",
    ResourcesPids = "resources.pids",
    ResourcesOpenFiles = "resources.open_files",
    DevicesCount = "devices.count",
    BlockCount = "devices.block.count",
    BlockPath = "devices.block.path",
    BlockReadOnly = "devices.block.read_only",
    BlockForeign = "devices.block.foreign",
    BlockQueues = "devices.block.queues",
    FsCount = "devices.fs.count",
    FsPath = "devices.fs.path",
    FsReadOnly = "devices.fs.read_only",
    FsForeign = "devices.fs.foreign",
    FsQueues = "devices.fs.queues",
    NetCount = "devices.net.count",
    NetForeign = "devices.net.foreign",
    NetQueues = "devices.net.queues",
    ConsoleCount = "devices.console.count",
    ConsoleForeign = "devices.console.foreign",
    ConsoleQueues = "devices.console.queues",
    VsockCount = "devices.vsock.count",
    VsockForeign = "devices.vsock.foreign",
    VsockQueues = "devices.vsock.queues",
    RngCount = "devices.rng.count",
    RngForeign = "devices.rng.foreign",
    RngQueues = "devices.rng.queues",
    NetworkEndpoint = "network.endpoint",
    NetworkUsage = "network.usage",
    PageStateUsage = "runtime.page_state",
    SharedPercent = "runtime.shared_percent",
    GuestRequestUsage = "runtime.guest_request",
    AccessConsole = "runtime.console",
    AccessDebug = "runtime.debug",
    AccessSnapshot = "runtime.snapshot",
    AccessMigration = "runtime.migration",
    ReportVersion = "attestation.version",
    ReportVmpl = "attestation.vmpl",
    ReportGeneration = "attestation.generation",
    ReportTcb = "attestation.reported_tcb",
    ReportLaunchTcb = "attestation.launch_tcb",
    ReportProvisional = "attestation.provisional_firmware",
    ReportChip = "attestation.chip_id",
    ReportSigner = "attestation.signer",
    ReportCsp = "attestation.csp_id",
    ReportModelRoot = "attestation.model_root",
    CrlChecked = "attestation.crl_checked",
    CrlAge = "attestation.crl_age_hours",
    ReportMeasurement = "attestation.measurement",
    ReportHostData = "attestation.host_data",
    ReportIdKey = "attestation.id_key",
    ReportAuthorKey = "attestation.author_key",
    ReportFamily = "attestation.family_id",
    ReportImage = "attestation.image_id",
    ReportGuestSvn = "attestation.guest_svn",
    ReportGuestPolicy = "attestation.guest_policy",
    ReportPlatform = "attestation.platform_info",
    ReportMitigations = "attestation.mitigations",
    ReportContext = "attestation.context",
    AzureAk = "attestation.azure_ak",
    AzureVmId = "attestation.azure_vm_id",
    AzureSecureBoot = "attestation.azure_secure_boot",
    AzurePcrs = "attestation.azure_pcrs",
    SecretResource = "secrets.resource",
    SecretAttested = "secrets.attested",
    SecretUses = "secrets.uses",
    SecretTime = "secrets.time",
    SecretSessionAge = "secrets.session_age",
    Setting = "",
}

impl Key {
    /// The index of the fact in [`crate::Facts`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The key with this path; none for what is no fact's.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        // Settings have the empty path, which is no name for an input.
        Self::ALL.iter().copied().find(|key| key.path() == path && *key != Self::Setting)
    }
}
