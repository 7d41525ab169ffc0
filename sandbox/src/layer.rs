//! The layers of the lock, how much each is needed, and what became of it.

use std::fmt;

/// One thing that confines a process. The order is that of application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// A user namespace, in which the process is an unprivileged user.
    UserNamespace,
    /// A mount namespace, which the empty root needs.
    MountNamespace,
    /// A PID namespace: no other process has a number.
    PidNamespace,
    /// An IPC namespace: no System V object, no message queue.
    IpcNamespace,
    /// A host name of its own: a UTS namespace.
    UtsNamespace,
    /// A view of control groups of its own.
    CgroupNamespace,
    /// A network namespace without an interface.
    NetworkNamespace,
    /// Every descriptor closed that is not on the keep list.
    Descriptors,
    /// An unprivileged user and group id.
    UserId,
    /// SIGKILL when the parent dies.
    DeathSignal,
    /// Resource limits, by setrlimit(2).
    Limits,
    /// An empty read-only root: afterwards no path resolves. It stands on
    /// [`Layer::MountNamespace`].
    EmptyRoot,
    /// `no_new_privs`. Before what it makes void: the bounding set of who may not empty it.
    NoNewPrivs,
    /// No capability in the bounding set.
    BoundingSet,
    /// No capability in any set, and securebits that keep it so.
    Capabilities,
    /// Not dumpable: no core, no ptrace or /proc access by an equal.
    NotDumpable,
    /// Memory that was writable never becomes executable.
    WriteXorExecute,
    /// Speculation: no store is bypassed, and no other process steers indirect branches.
    Speculation,
    /// Landlock: every file-system and network right denied. It stands on [`Layer::NoNewPrivs`].
    Landlock,
    /// Landlock scopes: no signal and no abstract socket leaves the process. They stand on
    /// [`Layer::Landlock`].
    LandlockScopes,
    /// The memory fence: of the guest's memory no page that the guest does not hold.
    MemoryFence,
    /// The system-call filter. It stands on [`Layer::NoNewPrivs`].
    Seccomp,
}

impl Layer {
    /// Every layer, in order of application.
    pub const ALL: [Self; 22] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::PidNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::NetworkNamespace,
        Self::Descriptors,
        Self::UserId,
        Self::DeathSignal,
        Self::Limits,
        Self::EmptyRoot,
        Self::NoNewPrivs,
        Self::BoundingSet,
        Self::Capabilities,
        Self::NotDumpable,
        Self::WriteXorExecute,
        Self::Speculation,
        Self::Landlock,
        Self::LandlockScopes,
        Self::MemoryFence,
        Self::Seccomp,
    ];

    /// Whether only a process that asks for it gets the layer. A network namespace of its own costs
    /// milliseconds and adds depth, not reach; a fence is for who maps a confidential guest's
    /// memory and is not its vmm process, whose touch is how that memory comes to be.
    #[must_use]
    pub const fn only_where_asked(self) -> bool {
        matches!(self, Self::NetworkNamespace | Self::MemoryFence)
    }

    /// The layer without which this one cannot be had. That what stands on another is not even
    /// tried without it is not this table's doing: the kernel refuses, or, where a wrong try would
    /// harm the caller, a type (see `namespace::OwnMounts`). It is for messages and tests.
    #[must_use]
    pub const fn stands_on(self) -> Option<Self> {
        match self {
            Self::EmptyRoot => Some(Self::MountNamespace),
            Self::Landlock | Self::Seccomp => Some(Self::NoNewPrivs),
            Self::LandlockScopes => Some(Self::Landlock),
            _ => None,
        }
    }

    /// Its number in a packet: the place in [`Layer::ALL`].
    pub(super) const fn number(self) -> u8 {
        self as u8
    }

    /// The layer of that number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The clone(2) flag of a namespace layer, 0 for the others.
    pub(super) const fn namespace_flag(self) -> libc::c_int {
        match self {
            Self::UserNamespace => libc::CLONE_NEWUSER,
            Self::MountNamespace => libc::CLONE_NEWNS,
            Self::PidNamespace => libc::CLONE_NEWPID,
            Self::IpcNamespace => libc::CLONE_NEWIPC,
            Self::UtsNamespace => libc::CLONE_NEWUTS,
            Self::CgroupNamespace => libc::CLONE_NEWCGROUP,
            Self::NetworkNamespace => libc::CLONE_NEWNET,
            _ => 0,
        }
    }

    /// The name that configuration and output use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::UserId => "user-id",
            Self::DeathSignal => "death-signal",
            Self::Descriptors => "descriptors",
            Self::Limits => "limits",
            Self::EmptyRoot => "empty-root",
            Self::Capabilities => "capabilities",
            Self::BoundingSet => "bounding-set",
            Self::NoNewPrivs => "no-new-privs",
            Self::NotDumpable => "not-dumpable",
            Self::WriteXorExecute => "write-xor-execute",
            Self::Speculation => "speculation",
            Self::Landlock => "landlock",
            Self::LandlockScopes => "landlock-scopes",
            Self::MemoryFence => "memory-fence",
            Self::Seccomp => "seccomp",
        }
    }

    /// The layer of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }

    /// What the layer keeps a process from.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::UserNamespace => "its user is nobody outside",
            Self::MountNamespace => "its mounts are its own",
            Self::PidNamespace => "no other process has a number in it",
            Self::IpcNamespace => "no System V object of others",
            Self::UtsNamespace => "no change of the host's name",
            Self::CgroupNamespace => "no sight of the host's cgroups",
            Self::NetworkNamespace => "no network interface; adds depth, not reach",
            Self::UserId => "no file and no process of root or of other users",
            Self::DeathSignal => "nothing is left when the parent dies",
            Self::Descriptors => "no descriptor but those it was given",
            Self::Limits => "bounded use of the host",
            Self::EmptyRoot => "no path resolves",
            Self::BoundingSet | Self::Capabilities => "no privilege, and none to be regained",
            Self::NoNewPrivs => "no privilege by running a program",
            Self::NotDumpable => "no core file, no tracing by an equal",
            Self::WriteXorExecute => "no code that was data",
            Self::Speculation => {
                "no speculation that others steer, where the processor can be told"
            }
            Self::Landlock => "no file and no TCP port, even if another layer fails",
            Self::LandlockScopes => "no signal and no abstract socket to others",
            Self::MemoryFence => "no page of the guest's memory but those that it shares",
            Self::Seccomp => "a process that breaks its filter dies",
        }
    }

    /// What to do on a host that refuses the layer.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::UserNamespace => {
                "allow user namespaces (sysctl user.max_user_namespaces; \
                 kernel.unprivileged_userns_clone=1; \
                 kernel.apparmor_restrict_unprivileged_userns=0; \
                 in a container, its seccomp profile)"
            }
            Self::MountNamespace
            | Self::PidNamespace
            | Self::IpcNamespace
            | Self::UtsNamespace
            | Self::CgroupNamespace
            | Self::NetworkNamespace => {
                "raise its sysctl user.max_*_namespaces, or allow user namespaces, \
                 which give the right to it"
            }
            Self::UserId => {
                "run as an ordinary user, or in a user namespace that has a user 65534 \
                 (unshare --map-auto, or a container with a range of users)"
            }
            Self::DeathSignal | Self::NotDumpable | Self::NoNewPrivs => {
                "no supported kernel refuses this: \
                 check what filters the program's own system calls"
            }
            Self::Descriptors => "use Linux 5.9 or newer, with a readable /dev/null",
            Self::Limits => "raise the hard limits of the calling process",
            Self::EmptyRoot => "let it have a mount namespace of its own, and a kernel with tmpfs",
            Self::Capabilities | Self::BoundingSet => "let it have a user namespace",
            Self::WriteXorExecute => "use Linux 6.3 or newer on x86-64",
            Self::Speculation => "use Linux 4.20 or newer",
            Self::Landlock => {
                "use a kernel with CONFIG_SECURITY_LANDLOCK=y and landlock in its lsm= list"
            }
            Self::LandlockScopes => "use Linux 6.12 or newer (landlock ABI 6)",
            Self::MemoryFence => {
                "use Linux 5.11 or newer with CONFIG_USERFAULTFD=y, where nothing forbids \
                 userfaultfd (in a container, its seccomp profile)"
            }
            Self::Seccomp => "use a kernel with CONFIG_SECCOMP_FILTER=y",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much a layer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Its absence is an error.
    Required,
    /// Its absence is reported.
    Optional,
    /// It is not applied.
    Off,
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In force; the text adds details, or is empty.
    Applied(String),
    /// Optional, and the host cannot give it: why.
    Missing(String),
    /// Nobody asked for it.
    Off,
}

/// What became of each layer, in order of application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(Vec<(Layer, State)>);

impl Report {
    /// Takes down what became of a layer, in its place.
    pub(super) fn record(&mut self, layer: Layer, state: State) {
        let place = self.0.partition_point(|(known, _)| *known <= layer);
        self.0.insert(place, (layer, state));
    }

    /// Says more of a layer that is in force.
    pub(super) fn specify(&mut self, layer: Layer, more: String) {
        if let Some((_, State::Applied(details))) = self.0.iter_mut().find(|(l, _)| *l == layer) {
            *details = more;
        }
    }

    /// What became of one layer; None when that is not known (yet).
    #[must_use]
    pub fn of(&self, layer: Layer) -> Option<&State> {
        self.0.iter().find(|(known, _)| *known == layer).map(|(_, state)| state)
    }

    /// The layers and what became of them.
    pub fn iter(&self) -> impl Iterator<Item = &(Layer, State)> {
        self.0.iter()
    }

    /// Whether `layer` is in force.
    #[must_use]
    pub fn is_applied(&self, layer: Layer) -> bool {
        matches!(self.of(layer), Some(State::Applied(_)))
    }

    /// The optional layers that the host could not give, and why.
    pub fn missing(&self) -> impl Iterator<Item = (Layer, &str)> {
        self.0.iter().filter_map(|(layer, state)| match state {
            State::Missing(why) => Some((*layer, why.as_str())),
            State::Applied(_) | State::Off => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (layer, state) in &self.0 {
            match state {
                State::Applied(details) if details.is_empty() => {
                    writeln!(f, "{layer:<18} applied")?;
                }
                State::Applied(details) => writeln!(f, "{layer:<18} applied: {details}")?,
                State::Missing(why) => writeln!(f, "{layer:<18} MISSING: {why}")?,
                State::Off => writeln!(f, "{layer:<18} off")?,
            }
        }
        Ok(())
    }
}
