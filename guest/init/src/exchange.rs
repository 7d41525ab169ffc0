//! The disk by which a run's inputs come in and its sealed results go out.
//!
//! The host makes it and can write anything on it at any time. So it is read once, before the
//! workload starts: the nonce is the owner's to recognise, inputs are copied to memory and hashed
//! as they are copied. What goes out is sealed, and a report of the processor is bound to what was
//! sealed, to that hash and to that nonce.

use crate::secrets::FOLDER;
use crate::{evidence, process, root, said, say};
use casemate_layout::Refusal;
use casemate_manifest::{EXCHANGE_SERIAL, User};
use casemate_result::entries::{self, Entry};
use casemate_result::{
    Cover, Ending, Hash, InputDigest, NONCE, PublicKey, Request, ResultError, Sealer,
};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, mkdir, open, openat,
    statat,
};
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

/// Where a workload finds its inputs, and where it leaves its results.
const INPUTS: &str = "/run/casemate/in";
const OUTPUT: &str = "/run/casemate/out";
/// How deep folders of results may lie in each other: each is open while it is read.
const MAX_DEPTH: usize = 60;

/// The disk, open: devices are out of reach later.
pub struct Exchange {
    disk: File,
}

/// A run whose inputs are in place.
pub struct Run {
    disk: File,
    nonce: [u8; NONCE],
    inputs: Hash,
    recipients: Vec<PublicKey>,
    /// The folder itself, whatever a workload that is root makes of its path.
    output: OwnedFd,
}

impl Exchange {
    /// Opens the disk.
    ///
    /// # Errors
    /// [`Refusal::Exchange`]: a workload whose results could not leave is not started.
    pub fn open() -> Result<Self, Refusal> {
        let path = root::wait_for_disk(EXCHANGE_SERIAL).ok_or(Refusal::Exchange)?.path;
        let disk = File::options().read(true).write(true).open(path);
        Ok(Self { disk: disk.map_err(said(Refusal::Exchange, "the disk of the results"))? })
    }

    /// Takes the inputs, and makes the folder for the results, which is `user`'s.
    ///
    /// # Errors
    /// [`Refusal::Exchange`] and [`Refusal::Inputs`].
    pub fn begin(self, recipients: &[String], user: &User) -> Result<Run, Refusal> {
        let bad_key = said(Refusal::Manifest, "a recipient of the manifest");
        let keys: Result<Vec<PublicKey>, _> = recipients.iter().map(|key| key.parse()).collect();
        let recipients = keys.map_err(bad_key)?;
        let output = folders(user).map_err(said(Refusal::Prepare, FOLDER))?;
        let mut from = BufReader::with_capacity(64 * 1024, &self.disk);
        let request = Request::read(&mut from);
        let request = request.map_err(said(Refusal::Exchange, "the disk of the results"))?;
        let mut digest = InputDigest::default();
        for input in &request.inputs {
            // The name is one of a file, and of no other input.
            let path = format!("{INPUTS}/{}", input.name);
            let made = File::options().write(true).create_new(true).mode(0o444).open(path);
            let mut file = made.map_err(said(Refusal::Inputs, "an input"))?;
            let copied = digest.add(input, &mut from, |part| file.write_all(part));
            copied.map_err(said(Refusal::Inputs, "an input"))?;
        }
        let (nonce, inputs) = (request.nonce, digest.finish());
        drop(from);
        Ok(Run { disk: self.disk, nonce, inputs, recipients, output })
    }
}

fn folders(user: &User) -> rustix::io::Result<OwnedFd> {
    mkdir(INPUTS, Mode::from_raw_mode(0o755))?;
    mkdir(OUTPUT, Mode::from_raw_mode(0o700))?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    chownat(CWD, OUTPUT, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    open(OUTPUT, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

impl Run {
    /// Ends every process that is left, then seals what the workload left and how it ended, and
    /// gets a report for it.
    ///
    /// # Errors
    /// [`Refusal::Results`]: the status of a workload whose results are lost is told by nobody.
    pub fn deliver(mut self, ending: Ending) -> Result<(), Refusal> {
        if !process::end_all() {
            say(&"a process of the workload does not end");
            return Err(Refusal::Results);
        }
        self.write(ending).map_err(said(Refusal::Results, "the results"))
    }

    fn write(&mut self, ending: Ending) -> Result<(), ResultError> {
        let head = u64::try_from(Cover::SIZE).unwrap_or(u64::MAX);
        self.disk.seek(SeekFrom::Start(head))?;
        let to = BufWriter::with_capacity(1 << 20, &self.disk);
        let sealer = Sealer::new(to, &self.recipients, &self.nonce, &self.inputs)?;
        let mut walk = Walk { sealer, path: Vec::new(), left_out: 0 };
        walk.folder(&self.output, 0)?;
        entries::end(&mut walk.sealer, ending)?;
        if walk.left_out > 0 {
            let count = walk.left_out;
            say(&format_args!("{count} results are neither files nor folders and were left out"));
        }
        let (to, sealed) = walk.sealer.finish()?;
        to.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let (nonce, inputs) = (self.nonce, self.inputs);
        let cover = Cover { sealed: sealed.len, evidence: 0, nonce, inputs };
        let data = casemate_result::report_data(&cover.binding(&sealed.sha256));
        let report = evidence::report(&data)?;
        let evidence = u32::try_from(report.len()).unwrap_or(u32::MAX);
        self.disk.write_all_at(&report, head.saturating_add(sealed.len))?;
        self.disk.sync_all()?;
        // The cover last: without it there is no result on the disk.
        self.disk.write_all_at(&Cover { evidence, ..cover }.encode(), 0)?;
        self.disk.sync_all()?;
        Ok(())
    }
}

/// A walk through the results. Nobody changes them any more.
struct Walk<W> {
    sealer: Sealer<W>,
    /// From the folder of results.
    path: Vec<u8>,
    left_out: u64,
}

impl<W: Write> Walk<W> {
    fn folder(&mut self, folder: &OwnedFd, depth: usize) -> Result<(), ResultError> {
        if depth > MAX_DEPTH {
            return Err(ResultError::Value("folders of results lie too deep in each other"));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(std::io::Error::from)? {
            let name = entry.map_err(std::io::Error::from)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        let before = self.path.len();
        for name in names {
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend(name.to_bytes());
            self.one(folder, &name, depth)?;
            self.path.truncate(before);
        }
        Ok(())
    }

    fn one(
        &mut self,
        folder: &OwnedFd,
        name: &std::ffi::CStr,
        depth: usize,
    ) -> Result<(), ResultError> {
        let failed = |e: rustix::io::Errno| ResultError::Io(e.into());
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mode = u16::try_from(stat.st_mode & 0o777).unwrap_or(0);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match kind {
            FileType::Directory => {
                entries::put(
                    &mut self.sealer,
                    &Entry { path: self.path.clone(), mode, size: None },
                )?;
                let flags = flags | OFlags::DIRECTORY;
                let inner = openat(folder, name, flags, Mode::empty()).map_err(failed)?;
                self.folder(&inner, depth.saturating_add(1))
            }
            FileType::RegularFile => {
                let file = openat(folder, name, flags, Mode::empty()).map_err(failed)?;
                let size = fstat(&file).map_err(failed)?.st_size;
                let size = u64::try_from(size).unwrap_or(0);
                let path = self.path.clone();
                entries::put(&mut self.sealer, &Entry { path, mode, size: Some(size) })?;
                self.contents(&File::from(file), size)
            }
            _ => {
                self.left_out = self.left_out.saturating_add(1);
                Ok(())
            }
        }
    }

    fn contents(&mut self, file: &File, size: u64) -> Result<(), ResultError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut at = 0;
        while at < size {
            let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
            let want = left.min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            file.read_exact_at(part, at)?;
            self.sealer.put(part)?;
            at = at.saturating_add(u64::try_from(want).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}
