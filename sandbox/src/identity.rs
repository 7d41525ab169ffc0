//! Whose user and group a child is: what the kernel lets its parent give it, found out by trying.
//!
//! "Am I root?" is the wrong question. Root of a user namespace with one id (`unshare -Ur`), root
//! without capabilities (a container with all of them dropped) and an ordinary user whom someone
//! gave CAP_SETUID all answer it misleadingly. So the best is asked for, and when the kernel
//! refuses, the next best.

use super::privileges::{self, NOBODY};
use super::refusal::Refusal;
use rustix::process::{getegid, geteuid};
use std::io;

/// The ids that a child has in its user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// It has no user namespace of its own: the ids are those of its parent.
    Shared,
    /// User and group [`NOBODY`], inside and outside.
    Nobody,
    /// Its parent's.
    Own,
    /// None is mapped: inside it is nobody by overflow, outside its parent's user.
    Unmapped,
}

impl Ids {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Shared => 1,
            Self::Nobody => 2,
            Self::Own => 3,
            Self::Unmapped => 4,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Shared, Self::Nobody, Self::Own, Self::Unmapped]
            .into_iter()
            .find(|ids| ids.number() == number)
    }

    /// What a report says of the user namespace.
    pub(super) fn details(self) -> String {
        match self {
            Self::Shared | Self::Nobody => String::new(),
            Self::Own => "with its parent's user".into(),
            Self::Unmapped => "with its parent's user, who has no number in it".into(),
        }
    }
}

/// Gives the user namespace of child `pid` its ids: [`NOBODY`] where we may, else our own, else
/// none.
///
/// user_namespaces(7): other ids than one's own take CAP_SETUID and CAP_SETGID over our user
/// namespace, and the id must have a number in it; our own group takes that groups cannot be
/// dropped; our own user 0 takes CAP_SETFCAP. A refused write changes nothing, so the next may be
/// tried.
pub(super) fn map_ids(pid: u32) -> Result<Ids, Refusal> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text).map_err(|e| Refusal::new(format!("write({path})"), e))
    };
    let one = |id: u32| format!("{id} {id} 1\n");
    if write("gid_map", one(NOBODY)).is_ok() {
        return match write("uid_map", one(NOBODY)) {
            Ok(()) => Ok(Ids::Nobody),
            // CAP_SETGID without CAP_SETUID. The groups are good as they are; the user is ours if
            // it can be.
            Err(_) => Ok(own_user(&write("uid_map", one(geteuid().as_raw())))),
        };
    }
    write("setgroups", "deny".into())?;
    write("gid_map", one(getegid().as_raw()))?;
    Ok(own_user(&write("uid_map", one(geteuid().as_raw()))))
}

fn own_user(mapped: &Result<(), Refusal>) -> Ids {
    // Without a number for its user a process has all it needs: it keeps its capabilities in its
    // own namespace.
    if mapped.is_ok() { Ids::Own } else { Ids::Unmapped }
}

/// The number that the calling process's user has one step outside its user namespace; 0 where it
/// cannot be told.
///
/// In the first user namespace a user has the same number outside. Root that made a user namespace
/// with its own user is 0 outside, whatever it calls itself inside. The file shows one step only: a
/// 0 there can be an ordinary user further out, which is then not believed.
pub(super) fn user_outside() -> u32 {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    outside(&map, geteuid().as_raw()).unwrap_or(0)
}

/// The outer number of `id` by a map of lines of `inner outer count`.
fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (Some(Ok(inner)), Some(Ok(outer)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        let offset = id.checked_sub(inner).filter(|offset| *offset < count)?;
        outer.checked_add(offset)
    })
}

/// The layer [`super::Layer::UserId`]: makes the calling process an unprivileged user. `callers` is
/// what [`user_outside`] told its parent.
pub(super) fn become_unprivileged(ids: Ids, callers: u32) -> Result<String, Refusal> {
    let refusal = match ids {
        Ids::Shared | Ids::Nobody => match privileges::become_nobody() {
            Ok(details) => return Ok(details),
            Err(refusal) => refusal,
        },
        Ids::Own | Ids::Unmapped => Refusal::new(
            "mapping user 65534",
            io::Error::other("this user namespace has no such user, or gives no right to it"),
        ),
    };
    if callers == 0 {
        let call = format!("{}, and it is root outside", refusal.call);
        return Err(Refusal::new(call, refusal.source));
    }
    // An ordinary user has nobody less whom it may become.
    Ok(format!("uid {callers}, supplementary groups stay"))
}

#[cfg(test)]
mod tests {
    use super::{Ids, outside};

    #[test]
    fn outer_number_is_read_from_the_map_that_has_it() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1000));
        assert_eq!(outside(map, 1), Some(100_000));
        assert_eq!(outside(map, 65_536), Some(165_535));
        assert_eq!(outside(map, 65_537), None);
        assert_eq!(outside("0 0 4294967295", 0), Some(0));
        for nonsense in ["", "0", "0 1", "a b c", "0 4294967295 2", "-1 0 5"] {
            assert!(outside(nonsense, 1).is_none(), "{nonsense:?}");
        }
    }

    #[test]
    fn ids_have_numbers_of_their_own() {
        for ids in [Ids::Shared, Ids::Nobody, Ids::Own, Ids::Unmapped] {
            assert_eq!(Ids::from_number(ids.number()), Some(ids));
        }
        assert_eq!(Ids::from_number(0), None);
        assert_eq!(Ids::from_number(5), None);
    }
}
