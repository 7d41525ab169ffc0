//! The links of an image: what its folder and the launch policy come to, computed again, beside
//! what a verified report says.

use super::{Compared, DIGEST, Link, of};
use crate::image::launches;
use crate::{Failure, run_broker};
use casemate_attestation::hex::encode;
use casemate_attestation::report::Fields;
use casemate_attestation::verify::Status;
use casemate_image::launch::{Folder, INITRD, KERNEL};
use casemate_initdata::host_data;
use casemate_manifest::{Broker, RootDisk, Secret};
use clap::Args;
use std::path::PathBuf;

/// What the owner knows of the guest, for the page.
#[derive(Debug, Args)]
pub struct OfImage {
    /// The image that was to be run: its launch digest is computed again for the page.
    #[arg(long, value_name = "FOLDER", requires = "evidence_page")]
    image: Option<PathBuf>,
    /// The launch policy that it was to be run under, for HOST_DATA on the page.
    #[arg(long, value_name = "FILE", requires = "image")]
    launch_policy: Option<PathBuf>,
    /// The broker's key that it was to be run with, where the image leaves that open.
    #[arg(long, value_name = "HASH", requires = "image")]
    kbs_key: Vec<String>,
}

/// What was computed.
pub(in crate::open) struct Image {
    /// The digest for each number of vCPUs.
    digests: Vec<(u32, [u8; 48])>,
    kernel: String,
    initrd: String,
    cmdline: String,
    root: String,
    manifest: String,
    handed: Handed,
    secrets: Vec<Secret>,
    broker: Option<Broker>,
}

impl OfImage {
    /// Reads and computes all of it; None without an image.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for what is no image, or no policy that can be handed over.
    pub(in crate::open) fn read(&self) -> Result<Option<Image>, Failure> {
        let Some(path) = &self.image else { return Ok(None) };
        let bad = |error: &dyn std::fmt::Display| Failure::BadInput(error.to_string());
        let folder = Folder::open(path).map_err(|error| bad(&error))?;
        let (kernel, initrd) = (folder.file(KERNEL), folder.file(INITRD));
        let launch = &folder.launch;
        folder.files().iter().for_each(|path| crate::files::was_read(path));
        let digests = launches::digests(&kernel, &initrd, &launch.cmdline, launch.snp)?;
        let root = RootDisk::from_cmdline(&launch.cmdline).map_err(|error| bad(&error))?;
        let policy = self.launch_policy.as_deref();
        policy.into_iter().for_each(crate::files::was_read);
        let broker = folder.manifest.broker.clone();
        let document = run_broker::document_of(broker.as_ref(), &self.kbs_key, policy)?;
        Ok(Some(Image {
            digests,
            kernel: launch.files.kernel.clone(),
            initrd: launch.files.initrd.clone(),
            cmdline: launch.cmdline.clone(),
            root: encode(&root.hash),
            manifest: launch.files.manifest.clone(),
            handed: Handed {
                host_data: document.map(|text| host_data(text.as_bytes())),
                policy: policy.is_some(),
            },
            secrets: folder.manifest.secrets.clone(),
            broker,
        }))
    }
}

/// What a run with the owner's launch policy and keys hands to its guest.
struct Handed {
    /// SHA-256 of the document; None where there is none.
    host_data: Option<[u8; 32]>,
    /// Whether the owner named a policy.
    policy: bool,
}

impl Handed {
    /// A run that hands nothing over leaves HOST_DATA unset whatever its policy is: then nothing
    /// proves which one it was, though both are equal.
    fn compare(&self, reported: &[u8; 32]) -> (Status, &'static str) {
        match (self.host_data, self.policy) {
            (Some(ours), true) if ours == *reported => {
                (Status::Passed, "HOST_DATA is of an initdata with this launch policy")
            }
            (Some(ours), false) if ours == *reported => {
                (Status::Passed, "HOST_DATA is of an initdata with these keys and without a policy")
            }
            (None, _) if *reported == [0; 32] => (
                Status::NotChecked,
                "HOST_DATA is unset: nothing proves under which policy it was launched",
            ),
            (_, true) => {
                (Status::Failed, "HOST_DATA is not of an initdata with this launch policy")
            }
            (_, false) => (
                Status::NotChecked,
                "--launch-policy names the file that HOST_DATA is compared with",
            ),
        }
    }
}

const NAMES: [&str; 8] = [
    DIGEST,
    "kernel",
    "initrd",
    "command line",
    "root hash",
    "manifest",
    "launch policy",
    "secrets",
];

impl Compared for Image {
    fn links(&self, report: &Fields) -> Vec<Link> {
        let [digest, kernel, initrd, cmdline, root, manifest, policy, secrets] = NAMES;
        let ours = self.digests.iter().find(|(_, digest)| *digest == report.measurement);
        let measured = of(ours.is_some());
        let why = match ours {
            Some((vcpus, _)) => format!(
                "computed again from the image's kernel, initrd and command line, for {vcpus} vCPUs"
            ),
            None => "no number of vCPUs gives this image that digest: another image ran".into(),
        };
        // Which part is another, the digest does not tell.
        let (part, why_part) = match ours {
            Some(_) => (Status::Passed, "the launch digest is of it"),
            None => (Status::NotChecked, "what ran is not this image"),
        };
        vec![
            Link::new(digest, measured, encode(&report.measurement), why),
            Link::new(kernel, part, format!("SHA-256 {}", self.kernel), why_part),
            Link::new(initrd, part, format!("SHA-256 {}", self.initrd), why_part),
            Link::new(cmdline, part, &*self.cmdline, why_part),
            Link::new(root, part, &*self.root, format!("a word of the command line; {why_part}")),
            Link::new(
                manifest,
                Status::NotChecked,
                format!("SHA-256 {}", self.manifest),
                "the guest proves its root disk block by block; that the root hash is of a disk \
                 with this manifest, `casemate image verify` tells",
            ),
            self.launch_policy(policy, report),
            self.of_secrets(secrets),
        ]
    }

    fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }
}

impl Image {
    fn launch_policy(&self, name: &'static str, report: &Fields) -> Link {
        let (state, why) = self.handed.compare(&report.host_data);
        Link::new(name, state, format!("HOST_DATA {}", encode(&report.host_data)), why)
    }

    fn of_secrets(&self, name: &'static str) -> Link {
        let names: Vec<&str> = self.secrets.iter().map(|one| one.resource.as_str()).collect();
        let value = match names.is_empty() {
            true => "the image asks for none".to_owned(),
            false => names.join(", "),
        };
        let broker = match &self.broker {
            None => "",
            Some(Broker::Measured(_)) => "; from a broker whose key is in the manifest",
            Some(Broker::Word(_)) => "; from a broker whose key is in the initdata",
        };
        let why = "who got them is in the log of the broker: `casemate kbs log`";
        Link::new(name, Status::NotChecked, format!("{value}{broker}"), why)
    }
}

#[cfg(test)]
mod tests {
    use super::{Handed, Status};

    /// Protects an owner from a policy that is called proven since nothing was handed over.
    #[test]
    fn a_launch_policy_has_passed_only_where_host_data_is_of_it() {
        let (ours, other, unset) = ([7; 32], [8; 32], [0; 32]);
        let state = |host_data, policy, reported| Handed { host_data, policy }.compare(reported).0;
        assert_eq!(state(Some(ours), true, &ours), Status::Passed);
        assert_eq!(state(Some(ours), false, &ours), Status::Passed);
        for reported in [&other, &unset] {
            assert_eq!(state(Some(ours), true, reported), Status::Failed);
            assert_eq!(state(Some(ours), false, reported), Status::NotChecked);
        }
        for policy in [true, false] {
            assert_eq!(state(None, policy, &unset), Status::NotChecked);
        }
        assert_eq!(state(None, true, &other), Status::Failed);
        assert_eq!(state(None, false, &other), Status::NotChecked);
    }
}
