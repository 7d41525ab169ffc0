//! What a recorder is given: its socket, the log, the file that is locked, the head file and the
//! key's file, if there are such, and what they are called, for its messages.

use casemate_policy_log::{KeyFile, LogError, LogFile, LogFiles};
use casemate_sandbox::{Child, Given, Image, Layers, SandboxError, spawn_image_with};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a recorder has of its own.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) control: OwnedFd,
    pub(super) files: Result<LogFiles, LogError>,
    pub(super) key: Option<KeyFile>,
}

/// Flags of a start, its first byte: which descriptors and names come, and what is relied on.
const HEAD: u8 = 1;
const KEY: u8 = 2;
const ADOPT: u8 = 4;

/// Starts a recorder; `before` is called before it begins, see [`spawn_image_with`].
pub(super) fn spawn(
    image: &Image,
    layers: Layers,
    control: &OwnedFd,
    files: &LogFiles,
    key: Option<&KeyFile>,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let place = files.place();
    let mut layers = layers.keep(control).keep(&files.log()).keep(&files.lock());
    let mut start = vec![if place.adopt { ADOPT } else { 0 }];
    push(&mut start, &place.path);
    if let (Some(head), Some(path)) = (files.head(), &place.head) {
        layers = layers.keep(&head);
        push_marked(&mut start, HEAD, path);
    }
    if let Some(key) = key {
        layers = layers.keep(key);
        push_marked(&mut start, KEY, key.path());
    }
    spawn_image_with(layers, image, &start, before)
}

fn push_marked(start: &mut Vec<u8>, flag: u8, path: &Path) {
    if let Some(first) = start.first_mut() {
        *first |= flag;
    }
    push(start, path);
}

/// Longest name kept: no file has a longer one (PATH_MAX).
const MAX_NAME: usize = 4096;

fn push(start: &mut Vec<u8>, path: &Path) {
    let name = path.as_os_str().as_bytes();
    let name = name.get(..name.len().min(MAX_NAME)).unwrap_or_default();
    start.extend(u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
    start.extend(name);
}

fn pop(start: &mut &[u8]) -> Option<PathBuf> {
    let (len, rest) = start.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *start = rest;
    Some(PathBuf::from(OsString::from_vec(name.to_vec())))
}

/// What the image was given; None when its supervisor is another version, or none of ours.
pub(super) fn take(mut given: Given) -> Option<Input> {
    let (control, log, lock) = (given.descriptor()?, given.descriptor()?, given.descriptor()?);
    let start = std::mem::take(&mut given.start);
    let (flags, mut names) = start.split_first()?;
    let has = |flag: u8| flags & flag != 0;
    let mut place = LogFile { adopt: has(ADOPT), ..LogFile::new(&pop(&mut names)?) };
    let mut head = None;
    if has(HEAD) {
        place.head = Some(pop(&mut names)?);
        head = Some(given.descriptor()?);
    }
    let mut key = None;
    if has(KEY) {
        key = Some(KeyFile::received(given.descriptor()?, &pop(&mut names)?));
    }
    if !names.is_empty() || flags & !(HEAD | KEY | ADOPT) != 0 {
        return None;
    }
    Some(Input { control, files: LogFiles::received(place, log, lock, head), key })
}
