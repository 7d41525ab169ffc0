//! Bytes of containerd's: files read within a bound, messages in messages, times.

use crate::error::RuntimeError;
use containerd_shim_protos::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
use containerd_shim_protos::protobuf::{Message, MessageField};
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest file that is read: a config.json with annotations of 100 KiB fits several times.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads a file of at most [`MAX_FILE`] bytes.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, RuntimeError> {
    read_file(path, MAX_FILE).map_err(RuntimeError::at("cannot read", path))
}

/// Reads a regular file of at most so many bytes. What stands at the path may be anything: it is
/// never waited for.
pub fn read_file(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    let other = |why: String| Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    if !file.metadata()?.is_file() {
        return other("it is no regular file".into());
    }
    let mut bytes = Vec::new();
    let length = file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if length as u64 > most {
        return other(format!("it has more than {most} bytes"));
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects from a bundle that is none: what is no file, or is longer than one can be, is an
    /// error at once, and nobody waits for it.
    #[test]
    fn what_is_no_file_is_not_waited_for_and_what_is_long_is_not_kept() {
        let folder = std::env::temp_dir().join(format!("casemate-wire-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let fifo = folder.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let said = |path: &Path| read_bounded(path).unwrap_err().to_string();
        assert!(said(&fifo).contains("no regular file"), "{}", said(&fifo));
        assert!(said(&folder).contains("no regular file"));
        assert!(said(Path::new("/dev/zero")).contains("no regular file"));
        let long = folder.join("long");
        std::fs::write(&long, vec![b' '; 1 + 1024 * 1024]).unwrap();
        assert!(said(&long).contains("more than 1048576"), "{}", said(&long));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
