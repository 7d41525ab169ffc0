//! Bytes of containerd's: files read within a bound, messages in messages, times.

use crate::error::RuntimeError;
use containerd_shim_protos::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
use containerd_shim_protos::protobuf::{Message, MessageField};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest file that is read: a config.json with annotations of 100 KiB fits several times.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file of at most [`MAX_FILE`] bytes.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, RuntimeError> {
    let failed = RuntimeError::at("cannot read", path);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > MAX_FILE => {
            Err(RuntimeError::Pod(format!("{} has more than 1 MiB", path.display())))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(failed(error)),
    }
}

/// Now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut time = Timestamp::new();
    time.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    time.nanos = i32::try_from(since.subsec_nanos()).unwrap_or(0);
    time
}

/// A message as one of any type.
pub fn any(name: &str, message: &impl Message) -> MessageField<Any> {
    let mut any = Any::new();
    any.type_url = name.into();
    // Only a message with a required field that is missing cannot be written: proto3 has none.
    any.value = message.write_to_bytes().unwrap_or_default();
    MessageField::some(any)
}
