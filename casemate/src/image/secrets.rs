//! What of an image's options is about secrets: which, and from whom.

use crate::Failure;
use crate::run_broker::pins;
use casemate_image::build::Settings;
use casemate_image::kernel::Purpose;
use casemate_manifest::{Broker, Keys, Secret, Word};
use clap::Args;

/// Secrets that the guest asks a key broker for.
#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    /// A secret that the guest asks a key broker for before its program starts, such as
    /// acme/db/key=db.key; the program finds it in /run/casemate/secrets, in memory, mode 0400.
    /// Once for each.
    #[arg(long, value_name = "RESOURCE=FILE")]
    secret: Vec<SecretArg>,

    /// The broker, by the SHA-256 of its public key, as `casemate kbs` prints it; twice where the
    /// key is to be changed. Measured with the image.
    #[arg(long, value_name = "HASH", conflicts_with = "broker_from_initdata")]
    broker_key: Vec<String>,

    /// Let whoever starts the guest name the broker (`run --kbs-key`). Who releases a secret then
    /// has to compare HOST_DATA, or any host's broker is believed.
    #[arg(long)]
    broker_from_initdata: bool,
}

/// A secret, as written.
#[derive(Debug, Clone)]
struct SecretArg(Secret);

impl std::str::FromStr for SecretArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (resource, file) =
            text.split_once('=').ok_or("write its name at the broker, = and a file's name")?;
        Ok(Self(Secret { resource: resource.to_owned(), file: file.to_owned() }))
    }
}

impl SecretArgs {
    /// The secrets and their broker. What of them cannot be is refused with the manifest.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for one without the other.
    pub(super) fn settings(&self) -> Result<(Vec<Secret>, Option<Broker>), Failure> {
        let secrets: Vec<Secret> = self.secret.iter().map(|SecretArg(one)| one.clone()).collect();
        let broker = match (&self.broker_key[..], self.broker_from_initdata) {
            ([], false) => None,
            ([], true) => Some(Broker::Word(Word::Initdata)),
            (keys, _) => Some(Broker::Measured(pins(keys, "--broker-key")?)),
        };
        match (secrets.is_empty(), &broker) {
            (false, None) => Err(Failure::BadInput(
                "--secret: say whom the guest may ask, with --broker-key, or leave that to who \
                 starts it, with --broker-from-initdata"
                    .into(),
            )),
            (true, Some(_)) => {
                let why =
                    "a broker is of use to an image with secrets alone: name one with --secret";
                Err(Failure::BadInput(why.into()))
            }
            _ => Ok((secrets, broker)),
        }
    }
}

/// What of its kernel an image needs. Results that are sealed come with a report, and a broker
/// wants one, too, and is reached by the socket device.
pub(super) fn purpose(settings: &Settings) -> Purpose {
    match (settings.secrets.is_empty(), settings.recipients.is_empty()) {
        (false, _) => Purpose::Secrets,
        (true, false) => Purpose::Reports,
        (true, true) => Purpose::Workload,
    }
}

/// What `image show` says of them.
pub(super) fn lines(secrets: &[Secret], broker: Option<&Broker>) -> Vec<String> {
    let secret = |one: &Secret| format!("secret     {} as {}", one.resource, one.file);
    let mut lines: Vec<String> = secrets.iter().map(secret).collect();
    match broker {
        None => {}
        Some(Broker::Measured(Keys { keys })) => {
            lines.extend(keys.iter().map(|key| format!("broker     of the key {key}")));
        }
        Some(Broker::Word(Word::Initdata)) => {
            lines.push("broker     named by who starts it, in initdata: compare HOST_DATA".into());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{SecretArg, SecretArgs, lines, pins};

    fn args(secrets: &[&str], keys: &[&str], initdata: bool) -> SecretArgs {
        SecretArgs {
            secret: secrets.iter().map(|text| text.parse::<SecretArg>().unwrap()).collect(),
            broker_key: keys.iter().map(|key| (*key).to_owned()).collect(),
            broker_from_initdata: initdata,
        }
    }

    #[test]
    fn a_secret_has_a_broker_and_a_broker_a_secret() {
        let key = "ab".repeat(32);
        let (secrets, broker) = args(&["a/b/c=d"], &[&key], false).settings().unwrap();
        let shown = lines(&secrets, broker.as_ref());
        assert_eq!(
            shown,
            ["secret     a/b/c as d".to_owned(), format!("broker     of the key {key}")]
        );
        let (secrets, broker) = args(&["a/b/c=d"], &[], true).settings().unwrap();
        assert!(lines(&secrets, broker.as_ref()).join("").contains("compare HOST_DATA"));
        assert_eq!(args(&[], &[], false).settings().unwrap(), (Vec::new(), None));
        for (bad, word) in [
            (args(&["a/b/c=d"], &[], false), "--broker-key"),
            (args(&[], &[&key], false), "--secret"),
            (args(&[], &[], true), "--secret"),
            (args(&["a/b/c=d"], &["ab"], false), "64 lower-case"),
            (args(&["a/b/c=d"], &[&key, &key], false), "at most 2"),
        ] {
            let Err(crate::Failure::BadInput(said)) = bad.settings() else { panic!("{bad:?}") };
            assert!(said.contains(word), "{said}");
        }
        assert!("a/b/c".parse::<SecretArg>().is_err());
        assert!(pins(&[], "--kbs-key").is_err());
    }
}
