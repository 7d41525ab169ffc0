//! Initdata: a text of whoever launched the guest, on a disk of the host's, believed when HOST_DATA
//! of a report of this guest is its hash.

use crate::{evidence, root, said, say};
use casemate_initdata::{CASEMATE, Casemate, Initdata, MAX_DISK, from_disk};
use casemate_layout::Refusal;
use casemate_manifest::{Broker, INITDATA_SERIAL, Keys, Word};
use std::fs::File;
use std::io::Read;
use std::ops::Range;

/// Where HOST_DATA is in a report (AMD 56860, table "attestation report").
const HOST_DATA: Range<usize> = 0xC0..0xE0;

/// A broker to be asked, and what was launched with.
pub struct Launched {
    /// Hashes of the broker's public keys.
    pub keys: Vec<[u8; 32]>,
    /// The document, for the broker; None where nothing was launched with.
    pub document: Option<String>,
}

/// What of initdata a guest that asks this broker needs. Called while devices are in reach.
///
/// # Errors
/// [`Refusal::Report`], [`Refusal::Initdata`] and, for keys that are none, [`Refusal::Manifest`].
pub fn of_launch(broker: &Broker) -> Result<Launched, Refusal> {
    let report = evidence::report(&[0; 64]).map_err(said(Refusal::Report, "a report"))?;
    let host_data = if report.is_empty() {
        say(&"there is no security processor: nothing proves this guest, nor its initdata");
        None
    } else {
        let field = report.get(HOST_DATA).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        Some(field.ok_or(Refusal::Report)?)
    };
    let from_initdata = matches!(broker, Broker::Word(Word::Initdata));
    // All zero is what a guest is launched with that has no initdata; without a report only what
    // is asked for is looked at.
    let expected = from_initdata || host_data.is_some_and(|hash| hash != [0; 32]);
    let document = if expected { Some(read()?) } else { None };
    let initdata = document.as_deref().map(|text| match &host_data {
        Some(hash) => Initdata::proven(text, hash),
        None => Initdata::read(text),
    });
    let initdata = initdata.transpose().map_err(said(Refusal::Initdata, "initdata"))?;
    let keys = match broker {
        Broker::Measured(keys) => keys.hashes().ok_or(Refusal::Manifest)?,
        Broker::Word(Word::Initdata) => named(initdata.as_ref())?,
    };
    Ok(Launched { keys, document })
}

/// The keys that initdata names.
fn named(initdata: Option<&Initdata>) -> Result<Vec<[u8; 32]>, Refusal> {
    let member = initdata.and_then(|initdata| initdata.member(CASEMATE)).unwrap_or_default();
    let member = Casemate::read(member).map_err(said(Refusal::Initdata, "initdata"))?;
    if !member.secrets.is_empty() {
        let why = "it names secrets, as of a pod: this is an image, which names its own";
        return Err(said(Refusal::Initdata, "initdata")(why));
    }
    let keys = member.broker.and_then(|broker| Keys { keys: broker.keys }.hashes());
    keys.ok_or_else(|| said(Refusal::Initdata, "initdata")("it names no key of a broker"))
}

fn read() -> Result<String, Refusal> {
    let failed = || said(Refusal::Initdata, "the disk of initdata");
    let disk = root::wait_for_disk(INITDATA_SERIAL).ok_or(Refusal::Initdata)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_DISK).unwrap_or(0);
    let file = File::open(disk.path).map_err(failed())?;
    file.take(most).read_to_end(&mut bytes).map_err(failed())?;
    from_disk(&bytes).map(str::to_owned).map_err(|e| failed()(std::io::Error::other(e)))
}
