//! Which of the two files is in use.

use crate::file::{self, Header, MAX_FILE};
use crate::seal::Sealer;
use crate::{Disk, Kek, Side, StoreError};
use zeroize::Zeroizing;

pub(crate) fn read(disk: &mut dyn Disk, side: Side) -> Result<Vec<u8>, StoreError> {
    disk.read(side, MAX_FILE).map_err(|source| StoreError::Io { side, what: "read", source })
}

/// The file that is in use, read; and whether the other one has anything in it.
#[allow(clippy::type_complexity, reason = "four things, once")]
pub(crate) fn newest(
    disk: &mut dyn Disk,
    kek: &Kek,
) -> Result<(Side, file::Loaded, Zeroizing<[u8; 32]>, bool), StoreError> {
    let mut found = Vec::new();
    let mut foreign = None;
    let mut rest = false;
    for side in Side::BOTH {
        let bytes = read(disk, side)?;
        match file::header(kek, side, &bytes)? {
            Header::Blank => rest |= !bytes.is_empty(),
            Header::Whole(identity, master) => found.push((identity, side, master, bytes)),
            Header::Foreign(generation) => foreign = Some((side, generation)),
        }
    }
    rest |= found.len() > 1;
    found.sort_by_key(|(identity, ..)| identity.generation);
    let newest = found.pop();
    // A file of an older generation is what a crash left of the time before, whatever its key was.
    // One that claims to be newer is one that this key should open.
    if let Some((side, generation)) = foreign {
        if newest.as_ref().is_none_or(|(identity, ..)| identity.generation <= generation) {
            return Err(StoreError::Key { side });
        }
        rest = true;
    }
    let (identity, side, master, bytes) = newest.ok_or(StoreError::Missing)?;
    let loaded = file::load(identity, &Sealer::new(&master), side, &bytes)?;
    Ok((side, loaded, master, rest))
}
