//! The key broker of a run: where it is, and what the guest is handed so that it knows it.
//!
//! Initdata is composed here: it is bytes in memory, which the launch hashes into HOST_DATA and the
//! guest reads from a disk. Nothing of it is written to a file.

use crate::Failure;
use casemate_foreign_text::value;
use casemate_hypervisor::config::{RawConfig, RawDisk};
use casemate_initdata::{CASEMATE, Casemate, POLICY, document, to_disk};
use casemate_manifest::{Broker, Keys, MAX_BROKER_KEYS, Word};
use casemate_sandbox::NOBODY;
use clap::Args;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The key broker of an image with secrets.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// Where the key broker of the image's secrets listens: unix:PATH. The guest reaches that one
    /// socket by its socket device, and speaks TLS with who holds the pinned key
    #[arg(long, value_name = "URL")]
    pub kbs: Option<Place>,
    /// SHA-256 of the broker's public key, for an image that leaves the broker to who starts it
    /// (`image build --broker-from-initdata`); twice while the key is changed
    #[arg(long, value_name = "HASH", requires = "kbs")]
    pub kbs_key: Vec<String>,
}

/// Where a broker listens.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl std::str::FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self(path.into())),
            _ => Err(
                "write unix:PATH, the socket that the broker listens at; for one elsewhere let \
                      a program forward to it, such as `socat UNIX-LISTEN:PATH,fork TCP:HOST:PORT`: \
                      what it forwards it can neither read nor change",
            ),
        }
    }
}

/// Initdata, in memory: both files are gone with this process.
#[derive(Debug)]
pub struct Handed {
    document: File,
    disk: File,
}

/// Gives a configuration the broker of its image, if that has one. What is handed to the guest
/// lives as long as the result.
///
/// # Errors
/// [`Failure::BadInput`] for a broker that nobody asks, and a run without one that is asked.
pub fn hand(
    args: &BrokerArgs,
    broker: Option<&Broker>,
    policy: Option<&Path>,
    config: &mut RawConfig,
) -> Result<Option<Handed>, Failure> {
    let Some((place, keys)) = asked(args, broker)? else { return Ok(None) };
    listens(place)?;
    config.vsock.get_or_insert_default().broker = Some(place.to_owned());
    let Some(text) = initdata(keys.as_ref(), policy)? else { return Ok(None) };
    let disk = to_disk(&text).map_err(|e| Failure::BadInput(e.to_string()))?;
    let handed = Handed { document: in_memory(text.as_bytes())?, disk: in_memory(&disk)? };
    if let Some(snp) = &mut config.snp {
        snp.initdata = Some(path_of(&handed.document));
    }
    config.disk.push(RawDisk {
        path: Some(path_of(&handed.disk)),
        name: Some("initdata".into()),
        read_only: true,
        serial: Some(casemate_manifest::INITDATA_SERIAL.into()),
        standby: Some(false),
        ..RawDisk::default()
    });
    Ok(Some(handed))
}

/// Where the broker is, and its keys, where the image leaves them to initdata. None where nobody
/// is asked.
fn asked<'a>(
    args: &'a BrokerArgs,
    broker: Option<&Broker>,
) -> Result<Option<(&'a Path, Option<Keys>)>, Failure> {
    let bad = |text: &str| Err(Failure::BadInput(text.to_owned()));
    match (broker, &args.kbs) {
        (None, None) => Ok(None),
        (None, Some(_)) => {
            bad("--kbs: only an image with secrets (`image build --secret`) asks a broker")
        }
        (_, None) => bad("the image asks a key broker for secrets: say where, with --kbs"),
        (Some(broker), Some(Place(path))) => Ok(Some((path, keys_of(broker, &args.kbs_key)?))),
    }
}

/// The keys that initdata is to have: None where the image has its broker's.
fn keys_of(broker: &Broker, given: &[String]) -> Result<Option<Keys>, Failure> {
    let bad = |text: &str| Err(Failure::BadInput(text.to_owned()));
    match (broker, given.is_empty()) {
        (Broker::Measured(_), true) => Ok(None),
        (Broker::Measured(_), false) => {
            bad("--kbs-key: the image names its broker's key itself, and no other is taken")
        }
        (Broker::Word(Word::Initdata), true) => {
            bad("the image leaves its broker to you: name its key, with --kbs-key")
        }
        (Broker::Word(Word::Initdata), false) => Ok(Some(pins(given, "--kbs-key")?)),
    }
}

/// The document that a run of an image with this broker hands to its guest, before there is one.
/// None where there is none, and HOST_DATA is zero.
///
/// # Errors
/// [`Failure::BadInput`] for keys that are not to be given, or have to be, and for a policy that
/// cannot be handed over.
#[cfg(feature = "image")]
pub fn document_of(
    broker: Option<&Broker>,
    keys: &[String],
    policy: Option<&Path>,
) -> Result<Option<String>, Failure> {
    match broker {
        Some(broker) => initdata(keys_of(broker, keys)?.as_ref(), policy),
        None if keys.is_empty() => Ok(None),
        None => Err(Failure::BadInput(
            "--kbs-key: only an image with secrets (`image build --secret`) asks a broker".into(),
        )),
    }
}

/// Most bytes of initdata as JSON has them. A report, the guest's key and base64 take the rest of a
/// broker's 64 KiB.
const MOST_SENT: usize = 40 << 10;

/// The document that a guest is launched with: keys of its broker, and the launch policy as it is
/// in its file. None where there is neither.
fn initdata(keys: Option<&Keys>, policy: Option<&Path>) -> Result<Option<String>, Failure> {
    let keys = keys.map(|keys| Casemate::of_broker(&keys.keys));
    let policy = policy.map(|path| {
        let bytes = casemate_files::read(path, casemate_initdata::MAX_SIZE as u64);
        let bytes = bytes.map_err(|e| Failure::BadInput(e.to_string()))?;
        String::from_utf8(bytes)
            .map_err(|_| Failure::BadInput(format!("{}: not text in UTF-8", value(path.display()))))
    });
    let policy = policy.transpose()?;
    let members = keys.iter().map(|text| (CASEMATE, text.as_str()));
    let members = members.chain(policy.iter().map(|text| (POLICY, text.as_str())));
    let members: Vec<_> = members.collect();
    if members.is_empty() {
        return Ok(None);
    }
    let text = document(members).map_err(|e| Failure::BadInput(format!("--policy: {e}")))?;
    // The guest sends it with its evidence in one body of at most 64 KiB, as a text of JSON.
    if serde_json::to_string(&text).map_or(true, |json| json.len() > MOST_SENT) {
        let why = "--policy: too long to be sent to a key broker with the guest's evidence";
        return Err(Failure::BadInput(format!("{why}: {} KiB are not", MOST_SENT >> 10)));
    }
    Ok(Some(text))
}

/// Hashes of a broker's keys, of this flag.
///
/// # Errors
/// [`Failure::BadInput`] for what is none, or more than there may be.
pub fn pins(keys: &[String], flag: &str) -> Result<Keys, Failure> {
    let keys = Keys { keys: keys.to_vec() };
    if keys.hashes().is_some() {
        return Ok(keys);
    }
    Err(Failure::BadInput(format!(
        "{flag}: give the SHA-256 of the broker's public key, 64 lower-case hexadecimal digits, \
         once for each of at most {MAX_BROKER_KEYS} keys"
    )))
}

/// Whether there is a socket: a guest that finds none could say so minutes later.
fn listens(path: &Path) -> Result<(), Failure> {
    let shown = value(path.display());
    // Not where a link leads: the process that connects has the folder for its root.
    let why = match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => {
            // The class that the kernel looks at for root's connector, who is nobody.
            let (owner, group) = (found.uid() == NOBODY, found.gid() == NOBODY);
            let (bit, right) = match (owner, group) {
                (true, _) => (0o200, "u+w"),
                (false, true) => (0o020, "g+w"),
                (false, false) => (0o002, "o+w"),
            };
            if found.permissions().mode() & bit != 0 || !rustix::process::geteuid().is_root() {
                return Ok(());
            }
            let who = "the process that connects for the guest, user 65534, may not use it";
            format!("{who}: `chmod {right}` it")
        }
        Ok(_) => "it is no socket".to_owned(),
        Err(e) => e.to_string(),
    };
    Err(Failure::BadInput(format!("--kbs: no broker listens at {shown}: {why}")))
}

/// A file of these bytes that nobody changes any more, and that has no name.
fn in_memory(bytes: &[u8]) -> Result<File, Failure> {
    let failed = |e: std::io::Error| Failure::Failed(format!("initdata in memory: {e}"));
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = memfd_create("casemate-initdata", flags).map_err(|e| failed(e.into()))?;
    let mut file = File::from(made);
    file.write_all(bytes).map_err(failed)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).map_err(|e| failed(e.into()))?;
    Ok(file)
}

fn path_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::{Broker, BrokerArgs, CASEMATE, Casemate, Keys, POLICY, Place, Word};
    use casemate_initdata::Initdata;
    use std::io::Write;

    /// Protects a user from a run that asks nobody, or somebody else than the image names.
    #[test]
    fn a_broker_is_named_where_it_is_asked_and_by_who_may_name_it() {
        let key = "ab".repeat(32);
        let args = |place: Option<&str>, keys: &[&str]| BrokerArgs {
            kbs: place.map(|text| text.parse().unwrap()),
            kbs_key: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let measured = Broker::Measured(Keys { keys: vec![key.clone()] });
        let word = Broker::Word(Word::Initdata);
        let place = Some("unix:/k");
        let good = |args: &BrokerArgs, broker| {
            super::asked(args, broker).unwrap().map(|(place, keys)| (place.to_owned(), keys))
        };
        assert!(good(&args(None, &[]), None).is_none());
        assert!(good(&args(place, &[]), Some(&measured)).unwrap().1.is_none());
        let (_, keys) = good(&args(place, &[&key]), Some(&word)).unwrap();
        assert_eq!(keys.unwrap().keys, std::slice::from_ref(&key));
        for (args, broker, said) in [
            (args(place, &[]), None, "--kbs: only an image"),
            (args(None, &[]), Some(&measured), "with --kbs"),
            (args(place, &[&key]), Some(&measured), "no other is taken"),
            (args(place, &[]), Some(&word), "with --kbs-key"),
            (args(place, &["ab"]), Some(&word), "64 lower-case"),
        ] {
            let Err(crate::Failure::BadInput(text)) = super::asked(&args, broker) else { panic!() };
            assert!(text.contains(said), "{text}");
        }
    }

    /// Protects who lists HOST_DATA before there is a run from a hash that no run has. Cannot tell
    /// what the guest is handed: the test of a real broker can.
    #[cfg(feature = "image")]
    #[test]
    fn what_is_printed_before_a_run_is_what_it_would_hand_over() {
        let key = "ab".repeat(32);
        let measured = Broker::Measured(Keys { keys: vec![key.clone()] });
        let word = Broker::Word(Word::Initdata);
        let keys = std::slice::from_ref(&key);
        assert_eq!(super::document_of(None, &[], None).unwrap(), None);
        assert_eq!(super::document_of(Some(&measured), &[], None).unwrap(), None);
        let pinned = Keys { keys: keys.to_vec() };
        let text = super::document_of(Some(&word), keys, None).unwrap();
        assert_eq!(text, super::initdata(Some(&pinned), None).unwrap());
        assert!(text.is_some());
        for (broker, keys) in [(None, keys), (Some(&measured), keys), (Some(&word), &[][..])] {
            assert!(super::document_of(broker, keys, None).is_err(), "{broker:?}");
        }
    }

    #[test]
    fn a_document_has_the_keys_and_the_policy_byte_for_byte_or_is_not_there() {
        let keys = Keys { keys: vec!["cd".repeat(32)] };
        assert_eq!(super::initdata(None, None).unwrap(), None);
        let path = std::env::temp_dir().join(format!("casemate-launch-{}", std::process::id()));
        std::fs::write(&path, "a = '\t'\r\n# \u{e4}").unwrap();
        let text = super::initdata(Some(&keys), Some(&path)).unwrap().unwrap();
        let read = Initdata::read(&text).unwrap();
        assert_eq!(read.member(POLICY), Some("a = '\t'\r\n# \u{e4}"));
        assert_eq!(read.member(CASEMATE).unwrap(), Casemate::of_broker(&keys.keys));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(super::initdata(None, Some(&path)).is_err());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_handed_over_is_nobodys_to_change() {
        let file = super::in_memory(b"text").unwrap();
        let again = std::fs::OpenOptions::new().write(true).open(super::path_of(&file)).unwrap();
        assert!((&again).write_all(b"x").is_err() && again.set_len(1).is_err());
        assert_eq!(std::fs::read(super::path_of(&file)).unwrap(), b"text");
    }

    #[test]
    fn a_broker_is_at_a_socket() {
        let place = |text: &str| text.parse::<Place>().map(|Place(path)| path);
        assert_eq!(place("unix:/run/kbs").unwrap().to_str(), Some("/run/kbs"));
        for bad in ["", "unix:", "/run/kbs", "https://kbs:8443", "http://kbs"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
