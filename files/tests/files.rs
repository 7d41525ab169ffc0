//! What these tests protect: a path that leads elsewhere than it should costs neither time nor
//! memory nor another file. What they cannot tell: what happens at a power cut, and on file systems
//! without nameless files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_files::{
    Access, Bounds, FileError, Kind, append, create, list, open, read, read_input, read_text,
    replace, walk, write_output,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-files-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

fn found(result: Result<Vec<u8>, FileError>) -> Kind {
    match result {
        Err(FileError::Unfit { found, .. }) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_regular_file_is_refused_before_it_is_read() {
    let folder = Folder::new("kinds");
    fifo(&folder.join("fifo"));
    symlink("/dev/zero", folder.join("link")).unwrap();
    assert_eq!(found(read(&folder.join("fifo"), 10)), Kind::Pipe);
    assert_eq!(found(read_input(&folder.join("fifo"), 10)), Kind::Pipe);
    assert_eq!(found(read(&folder.join("link"), 10)), Kind::Device);
    assert_eq!(found(read_input(Path::new("/dev/zero"), 10)), Kind::Device);
    assert_eq!(found(read(&folder.0, 10)), Kind::Directory);
    assert_eq!(found(read(Path::new("/dev/null"), 10)), Kind::Device);
    assert_eq!(read_input(Path::new("/dev/null"), 10).unwrap(), b"", "the usual empty file");
    assert!(open(&folder.join("nothing")).unwrap_err().is_missing());
}

/// Protects who reads a folder of others' files from one that looks regular and waits for what is
/// still to happen, as /proc/kmsg does: nothing of that kind is at hand in a test, so the flag that
/// decides is looked at.
#[test]
fn a_regular_file_is_never_waited_for() {
    let folder = Folder::new("waits");
    std::fs::write(folder.join("file"), "x").unwrap();
    let file = casemate_files::open(&folder.join("file")).unwrap();
    let flags = rustix::fs::fcntl_getfl(&file).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK), "{flags:?}");
}

#[test]
fn a_file_is_read_up_to_the_limit_and_not_a_byte_beyond() {
    let folder = Folder::new("limit");
    let file = folder.join("file");
    fs::write(&file, "12345").unwrap();
    assert_eq!(read(&file, 5).unwrap(), b"12345");
    assert!(matches!(read(&file, 4), Err(FileError::TooLarge { limit: 4, .. })));
    symlink("file", folder.join("link")).unwrap();
    assert_eq!(read_text(&folder.join("link"), 5).unwrap(), "12345");
    fs::write(&file, [0xff]).unwrap();
    assert!(matches!(read_text(&file, 5), Err(FileError::NotText { .. })));
}

#[test]
fn a_pipe_that_was_handed_over_is_read_to_its_end() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let writing = std::thread::spawn(move || {
        writer.write_all(b"through ").unwrap();
        std::thread::yield_now();
        writer.write_all(b"a pipe").unwrap();
    });
    assert_eq!(read_input(&path, 100).unwrap(), b"through a pipe");
    writing.join().unwrap();
    assert!(matches!(read(&path, 100), Err(FileError::Unfit { found: Kind::Pipe, .. })));
}

#[test]
fn a_file_is_replaced_whole_with_its_permissions_and_nothing_else_is_left() {
    let folder = Folder::new("replace");
    let file = folder.join("file");
    replace(&file, b"one", Access::Owner).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    let before = fs::File::open(&file).unwrap();
    replace(&file, b"two", Access::Owner).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"two");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o664);
    // Who had the old file open still has it, unchanged.
    assert_eq!(std::io::read_to_string(before).unwrap(), "one");
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn readers_see_one_of_the_contents_and_never_a_part() {
    let folder = Folder::new("whole");
    let file = folder.join("file");
    let contents = [vec![b'a'; 100_000], vec![b'b'; 50_000]];
    replace(&file, &contents[0], Access::Usual).unwrap();
    std::thread::scope(|scope| {
        for bytes in &contents {
            let file = &file;
            scope
                .spawn(move || (0..100).for_each(|_| replace(file, bytes, Access::Usual).unwrap()));
        }
        for _ in 0..100 {
            assert!(contents.contains(&read(&file, 200_000).unwrap()));
        }
    });
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn nothing_is_written_through_a_link() {
    let folder = Folder::new("links");
    let (other, link) = (folder.join("other"), folder.join("link"));
    fs::write(&other, "kept").unwrap();
    for target in ["other", "nothing"] {
        let _ = fs::remove_file(&link);
        symlink(target, &link).unwrap();
        for write in [replace, create, write_output] {
            write(&link, b"new", Access::Usual).unwrap_err();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read(&other).unwrap(), b"kept");
        assert_eq!(folder.names(), ["link", "other"]);
    }
}

#[test]
fn what_is_there_is_kept_by_create_and_a_folder_by_replace() {
    let folder = Folder::new("create");
    let file = folder.join("file");
    create(&file, b"first", Access::Owner).unwrap();
    create(&file, b"second", Access::Owner).unwrap_err();
    assert_eq!(fs::read(&file).unwrap(), b"first");
    assert!(matches!(
        replace(&folder.0, b"", Access::Owner),
        Err(FileError::Unfit { found: Kind::Directory, .. })
    ));
    replace(Path::new("/"), b"", Access::Owner).unwrap_err();
    assert!(replace(&folder.join("no/file"), b"", Access::Owner).unwrap_err().is_missing());
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn a_device_or_pipe_named_for_output_is_written_to_and_stays() {
    write_output(Path::new("/dev/null"), b"gone", Access::Usual).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = PathBuf::from(format!("/dev/fd/{}", writer.as_raw_fd()));
    write_output(&path, b"out", Access::Usual).unwrap();
    drop(writer);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert_eq!(text, "out");
}

#[test]
fn a_log_is_added_to_and_nothing_but_a_regular_file_is_one() {
    let folder = Folder::new("append");
    let log = folder.join("log");
    for line in ["one\n", "two\n"] {
        append(&log).unwrap().write_all(line.as_bytes()).unwrap();
    }
    assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    fifo(&folder.join("fifo"));
    symlink(&log, folder.join("link")).unwrap();
    let unfit = |path: &Path| match append(path) {
        Err(FileError::Unfit { found, .. }) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(unfit(&folder.join("fifo")), Kind::Pipe);
    assert_eq!(unfit(&folder.join("link")), Kind::Link);
    assert_eq!(unfit(&folder.0), Kind::Directory);
    assert_eq!(unfit(Path::new("/dev/null")), Kind::Device);
}

#[test]
fn a_folder_is_walked_within_its_bounds_and_in_no_circle() {
    let folder = Folder::new("walk");
    fs::create_dir_all(folder.join("a/b")).unwrap();
    for name in ["2", "1", "a/3", "a/b/4"] {
        fs::write(folder.join(name), name).unwrap();
    }
    symlink("..", folder.join("a/up")).unwrap();
    symlink("../1", folder.join("a/one")).unwrap();
    fifo(&folder.join("fifo"));
    let names = |files: Vec<PathBuf>| -> Vec<String> {
        let inside = |file: PathBuf| file.strip_prefix(&folder.0).unwrap().display().to_string();
        files.into_iter().map(inside).collect()
    };
    assert_eq!(names(list(&folder.0, 10).unwrap()), ["1", "2"]);
    let all = walk(&folder.0, Bounds { files: 20, depth: 5 }).unwrap();
    assert_eq!(names(all), ["1", "2", "a/3", "a/b/4", "a/one"]);
    assert!(matches!(list(&folder.0, 3), Err(FileError::TooMany { limit: 3, .. })));
    let shallow = walk(&folder.0, Bounds { files: 20, depth: 1 });
    assert!(matches!(shallow, Err(FileError::TooMany { limit: 1, .. })));
}

#[test]
fn a_message_is_one_line_whatever_the_path() {
    let message = read(Path::new("/none/a\nACCEPTED\u{1b}[2J\u{202e}"), 1).unwrap_err().to_string();
    assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message}");
    assert!(message.starts_with("cannot read /none/a\\nACCEPTED"), "{message}");
}
