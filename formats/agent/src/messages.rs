//! The messages of both directions: all that can be said.

use crate::error::AgentError;
use crate::fields::{Field, Unread};
use crate::frame::{Message, whole};
use crate::refusal::{Code, Refusal};

/// Declares a type of fields, in their order.
macro_rules! fields {
    ($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$doc])*
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Field for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
            fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
                $(let $field = <$type>::read(unread)?;)*
                Ok(Self { $($field,)* })
            }
        }
    };
}

/// Declares the messages of a direction: what a kind's number is, and which fields it has, is said
/// once, for writing and for reading.
macro_rules! messages {
    ($(#[$doc:meta])* pub enum $name:ident {
        $($(#[$kind_doc:meta])* $kind:literal $variant:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
        },)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $($(#[$kind_doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)*
        }

        impl Message for $name {
            fn kind(&self) -> u8 {
                match self { $(Self::$variant { .. } => $kind,)* }
            }
            fn write_fields(&self, out: &mut Vec<u8>) {
                match self { $(Self::$variant { $($field,)* } => {
                    $($field.write(out);)*
                    let _ = out;
                })* }
            }
            fn read_fields(kind: u8, fields: &[u8]) -> Result<Self, AgentError> {
                match kind {
                    $($kind => whole(fields, |unread| {
                        $(let $field = <$type>::read(unread)?;)*
                        let _ = unread;
                        Ok(Self::$variant { $($field,)* })
                    }),)*
                    other => Err(AgentError::UnknownKind(other)),
                }
            }
        }
    };
}

fields! {
    /// Which process: a container's own, or one beside it.
    #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct Process {
        /// The container's name in the manifest.
        container: String,
        /// 0 for the container's own process; others are numbered by the runtime.
        exec: u32,
    }
}

fields! {
    /// Standard streams, each the number of a connection that the runtime made for it and named so;
    /// 0 where there is none. With a terminal there is one for output, `stdout`.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Stdio {
        /// What the process reads; it has ended when the connection has.
        stdin: u32,
        /// What it writes.
        stdout: u32,
        /// What it complains.
        stderr: u32,
    }
}

fields! {
    /// What the host would have run. The guest runs what the manifest says, and compares: a
    /// difference is refused and named.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Wish {
        /// The program, and what it is given.
        args: Vec<String>,
        /// `NAME=VALUE` each. The only place where a host chooses anything: values that the
        /// manifest calls open.
        env: Vec<String>,
        /// The folder that it begins in.
        cwd: String,
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
        /// Further groups.
        groups: Vec<u32>,
        /// The bounding set of capabilities, a bit each, as in capability(7).
        capabilities: u64,
        /// Whether its root is read-only.
        readonly: bool,
        /// Whether its streams are a terminal.
        terminal: bool,
    }
}

impl Field for Refusal {
    fn write(&self, out: &mut Vec<u8>) {
        self.code.write(out);
        self.sentence.write(out);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        let code = Code::read(unread)?;
        // Escaped and bounded again: it comes from whoever is at the other end.
        Ok(Self::new(code, String::read(unread)?))
    }
}

messages! {
    /// What a runtime asks of a guest.
    pub enum ToGuest {
        /// The first message. Answered by [`ToHost::Hello`].
        1 Hello {
            /// Of what the runtime speaks: [`crate::VERSION`].
            version: u16,
        },
        /// A part of initdata, at most [`crate::MAX_PART`] bytes, in order. Answered by
        /// [`ToHost::Done`], the last one by [`ToHost::Ready`].
        2 Initdata {
            /// Whether it is the last.
            last: bool,
            /// Its bytes.
            part: Vec<u8>,
        },
        /// Makes a container of the manifest, not started yet. Answered by [`ToHost::Done`].
        3 Create {
            /// Its name in the manifest.
            container: String,
            /// Compared with the manifest.
            wish: Wish,
            /// Connections for its streams.
            stdio: Stdio,
        },
        /// Starts a container's process. Answered by [`ToHost::Started`].
        4 Start {
            /// Its name in the manifest.
            container: String,
        },
        /// Starts a process beside a container's own, which the manifest lists. Answered by
        /// [`ToHost::Started`].
        5 Exec {
            /// The container, and a number that no process of it has.
            process: Process,
            /// Compared with what the manifest lists.
            wish: Wish,
            /// Connections for its streams.
            stdio: Stdio,
        },
        /// Sends a signal that the manifest lists. Answered by [`ToHost::Done`].
        6 Signal {
            /// To which process.
            process: Process,
            /// Its number, as in signal(7).
            signal: u8,
        },
        /// A terminal has another size. Answered by [`ToHost::Done`].
        7 Resize {
            /// Whose.
            process: Process,
            /// Columns.
            columns: u16,
            /// Rows.
            rows: u16,
        },
        /// What a container uses. Answered by [`ToHost::Stats`].
        8 Stats {
            /// Its name in the manifest.
            container: String,
        },
        /// Ends every process and then the guest. Answered by [`ToHost::Done`].
        9 Shutdown {},
        /// A part of a file that the manifest lets the host give, at most [`crate::MAX_PART`]
        /// bytes, in order. Answered by [`ToHost::Done`].
        10 File {
            /// The volume's name in the manifest.
            volume: String,
            /// The file's: a plain one, no path.
            name: String,
            /// Whether it is the last part.
            last: bool,
            /// Its bytes.
            part: Vec<u8>,
        },
        /// Takes back a container that was made and not started. Answered by [`ToHost::Done`].
        11 Remove {
            /// Its name in the manifest.
            container: String,
        },
    }
}

messages! {
    /// What a guest answers, and what it says by itself.
    pub enum ToHost {
        /// Answers [`ToGuest::Hello`].
        1 Hello {
            /// [`crate::VERSION`].
            version: u16,
            /// A MODEL of a guest: processes of the host that nothing isolates, for tests.
            model: bool,
        },
        /// The pod is bound: initdata is what the guest was launched with.
        2 Ready {
            /// HOST_DATA of the guest's report, which is SHA-256 of initdata.
            host_data: [u8; 32],
            /// The report, for whoever verifies; empty from a MODEL.
            evidence: Vec<u8>,
        },
        /// It is done.
        3 Done {},
        /// A process runs.
        4 Started {
            /// Its number in the guest.
            pid: u32,
        },
        /// What a container uses, all its processes together.
        5 Stats {
            /// Memory, in bytes.
            memory: u64,
            /// Processor time, in nanoseconds.
            cpu: u64,
            /// How many processes it has.
            processes: u32,
        },
        /// It is not done.
        6 Refused {
            /// Why.
            refusal: Refusal,
        },
        /// By itself: a process has ended, and the last byte of its output has been sent before.
        7 Exited {
            /// Which.
            process: Process,
            /// Its exit status; 128 and the signal's number, of one that a signal ended.
            status: u32,
        },
        /// By itself: a line for the operator's log.
        8 Log {
            /// At most as long as a sentence.
            line: String,
        },
    }
}
