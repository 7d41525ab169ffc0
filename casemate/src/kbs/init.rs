//! `casemate kbs init` and `pin`: a new broker in a folder, and what guests know it by.

use super::broker::{Broker, identity, store_failure};
use crate::out::outln;
use crate::{Failure, Outcome};
use base64ct::{Base64, Encoding};
use casemate_files::Access;
use casemate_foreign_text::value;
use casemate_keeper::{TlsError, TlsKey, create_pem, starter};
use casemate_policy_log::generate_key;
use casemate_store::{Folder, Kek, LogStore};
use clap::Args;
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Make a new broker: keys, an empty store, a configuration, a policy to start from
///
/// Prints the hash of its key, which guests pin. The folder is yours alone; in it are
///   kbs.toml        what the broker is made of
///   policy.toml     who gets what: put your grants here
///   store/, kek     the secrets, sealed, and the key that opens them
///   tls.key, .pem   its identity
///   broker.key      what sessions are authenticated by
///   log.key, .pub   what the decision log is signed by
///   certs/          for `casemate attest certs`
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  casemate kbs init broker/
  casemate kbs init broker/ --name kbs.example.org --name 192.0.2.7
"
)]
pub(super) struct InitArgs {
    /// The folder to make; what is there already is left alone
    folder: PathBuf,
    /// A host name or IP address for its certificate, for curl and browsers: guests know it by its
    /// key. May be given several times; localhost, 127.0.0.1 and ::1 without
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
}

/// Print the hash of a broker's key, which guests pin
///
/// SHA-256 of its certificate's public key, in hexadecimal, and as curl takes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs pin
  casemate kbs pin --config broker/kbs.toml
")]
pub(super) struct PinArgs {
    #[command(flatten)]
    broker: Broker,
}

/// Names of a broker that was given none.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The policy of a new broker: nobody gets anything.
const POLICY: &str = "\
# Who gets which secret. Nobody gets any as it stands. For an image of yours
#   casemate image show app.img/ --policy
# prints a section `attestation` that admits it; a grant may look as the one
# below. Then: casemate policy lint policy.toml
schema_version = 1
min_engine = \"0.1.0\"
name = \"release\"

[attestation]
# Reports that were made for a key broker, and for nothing else.
context = [\"casemate-kbs-v1\"]

# [secrets.\"acme/db/*\"]
# measurement = [\"LAUNCH DIGEST\"]
# host_data = [\"SHA-256 OF THE INITDATA\"]    # \"unset\" for a guest without
# context = [\"casemate-kbs-v1\"]
# uses = 10
# window = { from = \"2026-01-01T00:00:00Z\", until = \"2026-12-31T23:59:59Z\" }
";

pub(super) fn run(args: &InitArgs) -> Outcome {
    let path = &args.folder;
    let made = match mkdir(path, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) if is_empty(path) => false,
        Err(Errno::EXIST) => {
            let text = "there is something already, which is left alone: name another folder";
            return Err(Failure::BadInput(format!("{}: {text}", value(path.display()))));
        }
        Err(errno) => {
            return Err(Failure::BadInput(format!("{}: {errno}", value(path.display()))));
        }
    };
    if !made {
        // An empty folder of the user's, with whatever rights it had.
        rustix::fs::chmod(path, Mode::RWXU)
            .map_err(|errno| Failure::BadInput(format!("{}: {errno}", value(path.display()))))?;
    }
    let filled = fill(path, &args.names);
    if filled.is_err() {
        // All that is in it was made here, a moment ago.
        empty(path);
        if made {
            let _ = std::fs::remove_dir(path);
        }
    }
    filled
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn empty(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
}

/// Makes all that is in the folder. Nobody else has it, so what cannot be made is the system's
/// fault, such as a full disk, and not the user's.
fn fill(folder: &Path, names: &[String]) -> Outcome {
    let keys = |error: casemate_keeper::KeyError| Failure::Failed(error.to_string());
    let tls = |error: TlsError| match error {
        TlsError::Name(_) => Failure::BadInput(format!("--name: {error}")),
        error => Failure::Failed(error.to_string()),
    };
    let names = match names.is_empty() {
        true => LOCAL.map(str::to_owned).to_vec(),
        false => names.to_vec(),
    };
    let (key, pkcs8) = TlsKey::generate().map_err(tls)?;
    let certificate = key.certificate(&names).map_err(tls)?;
    create_pem(&folder.join("tls.key"), "PRIVATE KEY", &pkcs8, Access::Owner).map_err(keys)?;
    create_pem(&folder.join("tls.pem"), "CERTIFICATE", &certificate, Access::Usual)
        .map_err(keys)?;
    let create_key = |path: &Path, key: &[u8; 32]| {
        casemate_files::create_key(path, key, Access::Owner)
            .map_err(|error| Failure::Failed(error.to_string()))
    };
    let mut broker = Zeroizing::new([0; 32]);
    rustix::rand::getrandom(&mut broker[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Failure::Failed(format!("random numbers: {errno}")))?;
    create_key(&folder.join("broker.key"), &broker)?;
    let store = folder.join("store");
    let failed = |error| match store_failure(&store, &error) {
        Failure::BadInput(why) => Failure::Failed(why),
        other => other,
    };
    let kek = Kek::generate().map_err(failed)?;
    // The key before the store: a store whose key nobody has is worth nothing.
    create_key(&folder.join("kek"), kek.bytes())?;
    LogStore::create(Box::new(Folder::create(&store).map_err(failed)?), kek).map_err(failed)?;
    generate_key(&folder.join("log.key")).map_err(|error| Failure::Failed(error.to_string()))?;
    let file = |name: &str, text: &str| {
        casemate_files::create(&folder.join(name), text.as_bytes(), Access::Usual)
            .map_err(|error| Failure::Failed(error.to_string()))
    };
    casemate_files::make_folder(&folder.join("certs"))
        .map_err(|error| Failure::Failed(error.to_string()))?;
    file("policy.toml", POLICY)?;
    // Last: with it the folder is a broker.
    file("kbs.toml", &starter())?;
    print_pin(&casemate_keeper::pin(&key.spki()));
    Ok(())
}

pub(super) fn pin(args: &PinArgs) -> Outcome {
    print_pin(&identity(&args.broker.config()?)?.pin());
    Ok(())
}

/// The hash as guests are given it, and as curl is.
fn print_pin(pin: &[u8; 32]) {
    outln!("{}", casemate_attestation::hex::encode(pin));
    outln!("sha256//{}", Base64::encode_string(pin));
}
