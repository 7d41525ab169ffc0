//! The messages between the module and this process; `snpemu/firmware.c` is the other side. All
//! numbers little-endian.
//!
//! Request: `u32 command, u32 length, u64 guest`, then `length` bytes. Reply: `u32 status, u32
//! length`, then `length` bytes.

/// The largest request: LAUNCH_FINISH with ID block and ID authentication.
pub const MESSAGE_MAX: usize = 16 + 40 + ID_BLOCK + ID_AUTH;
const ID_BLOCK: usize = 96;
const ID_AUTH: usize = 4096;
const PAGE: usize = 4096;

/// A request that the module cannot have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// A firmware command about one guest.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The guest context's address, which names the guest.
    pub guest: u64,
    pub command: Command<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Start { policy: u64 },
    Update { gpa: u64, page_type: u8, contents: Option<&'a [u8; PAGE]> },
    Secrets,
    Finish(Finish<'a>),
    GuestRequest { message: &'a [u8; PAGE] },
    Decommission,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Finish<'a> {
    pub host_data: [u8; 32],
    pub id: Option<(&'a [u8; ID_BLOCK], &'a [u8; ID_AUTH])>,
    pub author_key: bool,
    pub vcek_disabled: bool,
}

impl<'a> Request<'a> {
    /// Reads a whole message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let command = u32::from_le_bytes(*take(&mut rest)?);
        let length = u32::from_le_bytes(*take(&mut rest)?);
        let guest = u64::from_le_bytes(*take(&mut rest)?);
        if usize::try_from(length) != Ok(rest.len()) {
            return Err(Malformed("length"));
        }
        let command = match command {
            1 => Command::Start { policy: u64::from_le_bytes(*take(&mut rest)?) },
            2 => {
                let gpa = u64::from_le_bytes(*take(&mut rest)?);
                let [page_type, _, _, _] = *take(&mut rest)?;
                let contents = if rest.is_empty() { None } else { Some(take(&mut rest)?) };
                Command::Update { gpa, page_type, contents }
            }
            3 => Command::Secrets,
            4 => Command::Finish(finish(&mut rest)?),
            5 => Command::GuestRequest { message: take(&mut rest)? },
            6 => Command::Decommission,
            _ => return Err(Malformed("unknown command")),
        };
        if rest.is_empty() { Ok(Self { guest, command }) } else { Err(Malformed("too long")) }
    }
}

fn finish<'a>(rest: &mut &'a [u8]) -> Result<Finish<'a>, Malformed> {
    let host_data = *take(rest)?;
    let flags = u32::from_le_bytes(*take(rest)?);
    let id = if flags & 1 == 0 { None } else { Some((take(rest)?, take(rest)?)) };
    Ok(Finish { host_data, id, author_key: flags & 2 != 0, vcek_disabled: flags & 4 != 0 })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (head, tail) = rest.split_first_chunk().ok_or(Malformed("too short"))?;
    *rest = tail;
    Ok(head)
}

/// What goes back to the module.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// 0, or the firmware's status code.
    pub status: u32,
    pub payload: Vec<u8>,
}

impl Reply {
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        [&self.status.to_le_bytes(), &length.to_le_bytes(), self.payload.as_slice()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(command: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        [&command.to_le_bytes()[..], &length.to_le_bytes(), &7u64.to_le_bytes(), payload].concat()
    }

    #[test]
    fn every_command_is_read_as_the_module_writes_it() {
        let start = message(1, &0x30000u64.to_le_bytes());
        assert_eq!(
            Request::parse(&start),
            Ok(Request { guest: 7, command: Command::Start { policy: 0x30000 } })
        );
        let finish = message(4, &[[9u8; 32].as_slice(), &6u32.to_le_bytes()].concat());
        let Ok(Request { command: Command::Finish(finish), .. }) = Request::parse(&finish) else {
            panic!("not a finish")
        };
        assert_eq!((finish.host_data, finish.id), ([9; 32], None));
        assert!(finish.author_key && finish.vcek_disabled);
    }

    #[test]
    fn a_message_that_is_cut_or_too_long_is_refused() {
        let whole = message(2, &[[1u8; 12].as_slice(), &[0; 4096]].concat());
        assert!(Request::parse(&whole).is_ok());
        for length in (0..whole.len()).step_by(7) {
            assert!(Request::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(Request::parse(&message(3, &[0])).is_err());
        assert!(Request::parse(&message(99, &[])).is_err());
    }
}
