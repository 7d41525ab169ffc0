//! The input of a decision: which fact stands under which key, and the setters that check that it
//! fits.

use crate::cmdline::{CommandLine, CommandLineError};
use crate::document::{index_of, normal_path, pad, parse_version};
use crate::fact::Fact;
use crate::fields::{FLAG, Key, Kind, resource_fault};
use crate::lattice::{Bytes, Choice, Endpoint, Tcb, Usage};

/// The facts of one decision. A fact that is not there is denied by every rule but `any`.
///
/// The setters check that the value fits its key; one that does not becomes [`Fact::Invalid`],
/// which no rule admits, so a mistake in the caller is a denial with a reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    values: Box<[Option<Fact>]>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { values: Key::ALL.iter().map(|_| None).collect() }
    }
}

/// One device, for [`Facts::devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceFact<'a> {
    /// Kind of the device, which decides what facts it has.
    pub kind: DeviceKind,
    /// Absolute path of the file, directory or socket behind it, for kinds that have one; of the
    /// disk of a guest's initdata [`crate::INITDATA_DISK`].
    pub path: Option<&'a str>,
    /// Whether the guest can only read.
    pub read_only: bool,
    /// Whether a program that is not ours serves it.
    pub foreign: bool,
    /// Number of its virtqueues.
    pub queues: u64,
}

/// Kinds of devices that rules tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block device, virtio-blk.
    Block,
    /// Shared directory, virtio-fs.
    Fs,
    /// Network interface, virtio-net.
    Net,
    /// Console, virtio-console.
    Console,
    /// Socket to the host, virtio-vsock.
    Vsock,
    /// Source of random numbers, virtio-rng.
    Rng,
}

impl DeviceKind {
    /// Every kind, in the order of their facts.
    pub const ALL: [Self; 6] =
        [Self::Block, Self::Fs, Self::Net, Self::Console, Self::Vsock, Self::Rng];

    /// The keys of its facts: count, foreign, queues, and for files path and read-only.
    #[must_use]
    pub const fn keys(self) -> (Key, Key, Key, Option<(Key, Key)>) {
        match self {
            Self::Block => {
                let file = Some((Key::BlockPath, Key::BlockReadOnly));
                (Key::BlockCount, Key::BlockForeign, Key::BlockQueues, file)
            }
            Self::Fs => {
                let file = Some((Key::FsPath, Key::FsReadOnly));
                (Key::FsCount, Key::FsForeign, Key::FsQueues, file)
            }
            Self::Net => (Key::NetCount, Key::NetForeign, Key::NetQueues, None),
            Self::Console => (Key::ConsoleCount, Key::ConsoleForeign, Key::ConsoleQueues, None),
            Self::Vsock => (Key::VsockCount, Key::VsockForeign, Key::VsockQueues, None),
            Self::Rng => (Key::RngCount, Key::RngForeign, Key::RngQueues, None),
        }
    }
}

fn invalid(why: String) -> Fact {
    Fact::Invalid(why.into())
}

/// The fact of a command line, from the line or from its words.
pub(crate) fn command_line(fact: Fact) -> Fact {
    // A line is read, words are put together and read: either way it is the reading of
    // [`CommandLine`] that rules see.
    let read = match &fact {
        Fact::Text(line) => CommandLine::parse(line),
        Fact::List(items) => {
            let words: Option<Vec<&str>> = items.iter().map(as_text).collect();
            match words {
                Some(words) => CommandLine::of_words(words),
                None => return invalid("a word of the command line is not a text".into()),
            }
        }
        _ => return fact,
    };
    read.map_or_else(
        |error: CommandLineError| invalid(error.to_string()),
        |line| Fact::CommandLine(Box::new(line)),
    )
}

fn as_text(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Text(text) => Some(text),
        _ => None,
    }
}

fn list_or_one(kind: Kind, mut facts: Vec<Fact>) -> Fact {
    if !kind.is_list() && facts.len() == 1 {
        return facts.pop().unwrap_or_else(|| invalid("no value".into()));
    }
    Fact::List(facts)
}

impl Facts {
    /// No facts: what every rule but `any` denies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fact under `key`.
    #[must_use]
    #[inline]
    pub fn get(&self, key: Key) -> Option<&Fact> {
        self.values.get(key.index())?.as_ref()
    }

    /// The facts that are there, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Fact)> {
        Key::ALL.iter().zip(&self.values).filter_map(|(key, fact)| Some((*key, fact.as_ref()?)))
    }

    /// Sets a fact as it is, when it is a list where the key has one, and only there: every rule
    /// would admit an empty list of what is not even a list. The kernel command line is always kept
    /// as what its readers make of it, so a text is taken for the line, and a list for its words.
    /// Prefer the typed setters.
    pub fn set(&mut self, key: Key, fact: Fact) {
        let fact = if key == Key::LaunchCmdline { command_line(fact) } else { fact };
        // A list where a single value belongs, or the other way round, is invalid: an empty list
        // would be admitted by a rule of every element.
        let fits = match &fact {
            Fact::List(_) => key.kind().is_list(),
            Fact::CommandLine(_) => key == Key::LaunchCmdline,
            Fact::Invalid(_) => true,
            _ => !key.kind().is_list(),
        };
        let fact = if fits { fact } else { invalid(format!("{}: a list, or none", key.path())) };
        if let Some(slot) = self.values.get_mut(key.index()) {
            *slot = Some(fact);
        }
    }

    /// Removes a fact, as if nobody had said it.
    pub fn remove(&mut self, key: Key) {
        if let Some(slot) = self.values.get_mut(key.index()) {
            *slot = None;
        }
    }

    #[must_use]
    fn with(mut self, key: Key, fact: Fact) -> Self {
        self.set(key, fact);
        self
    }

    /// A number, mask or time in seconds.
    #[must_use]
    pub fn number(self, key: Key, number: u64) -> Self {
        // Only kinds that are numbers by nature: a choice is set by its name, so that an index that
        // moves with the version means nothing else.
        let fact = match key.kind() {
            Kind::Floor | Kind::Ceiling | Kind::Interval | Kind::Window | Kind::Bits(_) => {
                Fact::Number(number)
            }
            _ => invalid(format!("{} is not a number", key.path())),
        };
        self.with(key, fact)
    }

    /// A list of numbers, for rules on each of them.
    #[must_use]
    pub fn numbers(self, key: Key, numbers: impl IntoIterator<Item = u64>) -> Self {
        let fact = match key.kind() {
            Kind::CeilingEach => Fact::List(numbers.into_iter().map(Fact::Number).collect()),
            _ => invalid(format!("{} is not a list of numbers", key.path())),
        };
        self.with(key, fact)
    }

    /// Whether something is so, for a rule that requires or forbids it.
    #[must_use]
    pub fn flag(self, key: Key, on: bool) -> Self {
        let fact = match key.kind() {
            Kind::Flag => Fact::Number(u64::from(on)),
            _ => invalid(format!("{} is not a flag", key.path())),
        };
        self.with(key, fact)
    }

    /// A list of flags, for a rule on each of them.
    #[must_use]
    pub fn flags(self, key: Key, flags: impl IntoIterator<Item = bool>) -> Self {
        let fact = match key.kind() {
            Kind::FlagEach => {
                Fact::List(flags.into_iter().map(|on| Fact::Number(u64::from(on))).collect())
            }
            _ => invalid(format!("{} is not a list of flags", key.path())),
        };
        self.with(key, fact)
    }

    /// A text, the name of a choice or level, a path, or a version. Of a version everything after
    /// its leading digits and dots is left away, so `6.12.3-amd64` is 6.12.3. An unknown choice is
    /// admitted by `any` only.
    #[must_use]
    pub fn text(self, key: Key, text: &str) -> Self {
        let fact = text_fact(key, text);
        let fact = if key.kind().is_list() && key != Key::LaunchCmdline {
            Fact::List(vec![fact])
        } else {
            fact
        };
        self.with(key, fact)
    }

    /// A list of texts or paths.
    #[must_use]
    pub fn texts<'t>(self, key: Key, texts: impl IntoIterator<Item = &'t str>) -> Self {
        let facts: Vec<Fact> = texts.into_iter().map(|text| text_fact(key, text)).collect();
        self.with(key, list_or_one(key.kind(), facts))
    }

    /// The kernel command line, as it is given to the kernel. Rules look at what [`CommandLine`]
    /// reads in it.
    #[must_use]
    pub fn command_line(self, line: &str) -> Self {
        self.with(Key::LaunchCmdline, Fact::Text(line.into()))
    }

    /// A digest or identifier. Chip identifiers of 8 bytes are padded to 64.
    #[must_use]
    pub fn bytes(self, key: Key, bytes: &[u8]) -> Self {
        let fact = match key.kind().byte_len() {
            Some(len) => match pad(bytes, len) {
                Some(bytes) => Fact::Bytes(bytes),
                None => invalid(format!("{} has {} bytes, not {len}", key.path(), bytes.len())),
            },
            None => invalid(format!("{} is not a byte string", key.path())),
        };
        self.with(key, fact)
    }

    /// HOST_DATA of a launch is the SHA-256 of an initdata whose `policy.toml` is, byte for byte,
    /// the document that is asked. Who says so has compared both.
    #[must_use]
    pub fn host_data_of_this_document(self) -> Self {
        self.with(Key::LaunchHostData, Fact::Bytes(Bytes::INITDATA))
    }

    /// Security patch levels of a generation, in the order of [`Tcb::PARTS`].
    #[must_use]
    pub fn tcb(self, key: Key, tcb: Tcb) -> Self {
        let fact = match key.kind() {
            Kind::Tcb => Fact::Tcb(tcb),
            _ => invalid(format!("{} is not a TCB", key.path())),
        };
        self.with(key, fact)
    }

    /// A network end point to be connected to.
    #[must_use]
    pub fn endpoint(self, endpoint: Endpoint) -> Self {
        self.with(Key::NetworkEndpoint, Fact::List(vec![Fact::Endpoint(endpoint)]))
    }

    /// Counted uses, the one to be decided included.
    #[must_use]
    pub fn usage(self, key: Key, usage: Usage) -> Self {
        let fact = match key.kind() {
            Kind::Limit => Fact::Usage(usage),
            _ => invalid(format!("{} is not a usage", key.path())),
        };
        self.with(key, fact)
    }

    /// Every device of a guest: sets all facts of the devices point.
    #[must_use]
    pub fn devices(mut self, devices: &[DeviceFact<'_>]) -> Self {
        // Counts and lists are set together, from one list of devices: they cannot contradict each
        // other.
        let total = u64::try_from(devices.len()).unwrap_or(u64::MAX);
        self.set(Key::DevicesCount, Fact::Number(total));
        for kind in DeviceKind::ALL {
            let (count, foreign, queues, file) = kind.keys();
            let of_kind = || devices.iter().filter(|device| device.kind == kind);
            let list =
                |fact: &dyn Fn(&DeviceFact<'_>) -> Fact| Fact::List(of_kind().map(fact).collect());
            let number = u64::try_from(of_kind().count()).unwrap_or(u64::MAX);
            self.set(count, Fact::Number(number));
            self.set(foreign, list(&|device| Fact::Number(u64::from(device.foreign))));
            self.set(queues, list(&|device| Fact::Number(device.queues)));
            if let Some((path, read_only)) = file {
                // A device without a path where its kind has one has the empty path, which is not
                // valid.
                self.set(path, list(&|device| text_fact(path, device.path.unwrap_or_default())));
                self.set(read_only, list(&|device| Fact::Number(u64::from(device.read_only))));
            }
        }
        self
    }
}

/// A fact from a text, as its key wants it.
pub(crate) fn text_fact(key: Key, text: &str) -> Fact {
    match key.kind() {
        // A name that is none is invalid here already, before any grant is looked for.
        Kind::Names { .. } if key == Key::SecretResource => match resource_fault(text) {
            Some(fault) => {
                let text = crate::render::shorten(text);
                invalid(format!("{text:?} is no resource of the key broker protocol: {fault}"))
            }
            None => Fact::Text(text.into()),
        },
        Kind::Names { .. } | Kind::NamesForbidden | Kind::NamesRequired => Fact::Text(text.into()),
        Kind::Roots(words) if words.contains(&text) => Fact::Text(text.into()),
        Kind::Roots(_) => match normal_path(text) {
            Some(path) => Fact::Text(path.into()),
            None => invalid(format!("{text:?} is not an absolute path without `.`, `..` and `//`")),
        },
        Kind::Version => {
            // What follows the numbers is the distribution's (`6.12.3-amd64`). A version without
            // any number is none.
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
            match parse_version(text.get(..end).unwrap_or_default().trim_end_matches('.')) {
                Some(version) => Fact::Number(version),
                None => invalid(format!("{text:?} is not a version")),
            }
        }
        // A choice of a later version is a value that is not in this list: no rule but `any` admits
        // it.
        Kind::Choice(names) => Fact::Number(index_of(text, names).unwrap_or(Choice::UNKNOWN)),
        // A level has an order, in which an unknown one has no place.
        Kind::Level(names) => match index_of(text, names) {
            Some(level) => Fact::Number(level),
            None => invalid(format!("{text:?} is not one of {}", names.join(", "))),
        },
        Kind::Flag | Kind::FlagEach => match index_of(text, FLAG) {
            Some(index) => Fact::Number(index),
            None => invalid(format!("{text:?} is neither {}", FLAG.join(" nor "))),
        },
        _ => invalid(format!("{} is not a text", key.path())),
    }
}
