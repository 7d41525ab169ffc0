//! A packet's header (virtio 1.2, 5.10.6), read once into a value.

use casemate_device_queue::{GuestMemory, Readable};
use casemate_values::Guest;

/// Bytes of a header.
pub const HEADER: u32 = 44;
/// The host's context id (virtio 1.2, 5.10.4).
pub const HOST: u64 = 2;
/// `VIRTIO_VSOCK_TYPE_STREAM`: the only type that there is without a feature.
pub(crate) const STREAM: u16 = 1;

/// The sender of a shutdown receives no more.
pub(crate) const NO_RECEIVE: u32 = 1;
/// The sender of a shutdown sends no more.
pub(crate) const NO_SEND: u32 = 2;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Accepts one.
    Response = 2,
    /// Ends one at once, or says that there is none.
    Reset = 3,
    /// Ends one direction, or both.
    Shutdown = 4,
    /// Bytes.
    Data = 5,
    /// How much the sender can take.
    CreditUpdate = 6,
    /// Asks for that.
    CreditRequest = 7,
}

impl Op {
    /// Every operation.
    pub const ALL: [Self; 7] = [
        Self::Request,
        Self::Response,
        Self::Reset,
        Self::Shutdown,
        Self::Data,
        Self::CreditUpdate,
        Self::CreditRequest,
    ];
}

/// The two ports of a connection: what it is known by, since each side has one address here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// The guest's.
    pub guest: u32,
    /// The host's.
    pub host: u32,
}

/// How much the sender of a packet can take: its buffer, and how many bytes it has taken out of it
/// since the connection began, modulo 2^32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credit {
    /// `buf_alloc`.
    pub size: u32,
    /// `fwd_cnt`.
    pub taken: u32,
}

/// A header that the guest has sent. What is in it the guest alleges.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    pub(crate) from_cid: Guest<u64>,
    pub(crate) to_cid: u64,
    pub(crate) ports: Ports,
    /// Bytes behind the header.
    pub(crate) len: Guest<u32>,
    pub(crate) kind: u16,
    /// None for an operation that there is not.
    pub(crate) op: Option<Op>,
    pub(crate) flags: Guest<u32>,
    pub(crate) credit: Credit,
}

/// A number at a fixed place of a header.
fn word<const N: usize>(header: &[u8; HEADER as usize], at: usize) -> [u8; N] {
    header.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

impl Received {
    /// Takes the header of a request; None where it is not whole.
    pub fn take<M: GuestMemory>(from: &mut Readable<'_, M>) -> Option<Self> {
        let header: [u8; HEADER as usize] = from.take()?;
        let long = |at| u64::from_le_bytes(word(&header, at));
        let int = |at| u32::from_le_bytes(word(&header, at));
        let short = |at| u16::from_le_bytes(word(&header, at));
        let op = Guest::new(short(30));
        Some(Self {
            from_cid: Guest::new(long(0)),
            // Compared, and said back in a reset; nothing is reached by it.
            to_cid: long(8),
            ports: Ports { guest: int(16), host: int(20) },
            len: Guest::new(int(24)),
            kind: short(28),
            op: Op::ALL.into_iter().find(|known| op.is((*known as u16).into())),
            flags: Guest::new(int(32)),
            credit: Credit { size: int(36), taken: int(40) },
        })
    }
}

/// A header that is sent to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Who seems to send it: the host, or whom a guest took for one.
    pub from_cid: u64,
    /// The guest.
    pub to_cid: u64,
    /// The connection.
    pub ports: Ports,
    /// Bytes behind the header.
    pub len: u32,
    /// Type of the connection.
    pub kind: u16,
    /// What for.
    pub op: Op,
    /// Flags of a shutdown.
    pub flags: u32,
    /// What the host's side can take.
    pub credit: Credit,
}

impl Sent {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        let parts = self.from_cid.to_le_bytes().into_iter();
        let parts = parts.chain(self.to_cid.to_le_bytes());
        let ints = [self.ports.host, self.ports.guest, self.len];
        let parts = parts.chain(ints.into_iter().flat_map(u32::to_le_bytes));
        let shorts = [self.kind, self.op as u16];
        let parts = parts.chain(shorts.into_iter().flat_map(u16::to_le_bytes));
        let ints = [self.flags, self.credit.size, self.credit.taken];
        let parts = parts.chain(ints.into_iter().flat_map(u32::to_le_bytes));
        header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        header
    }
}
