//! The ID block side of `casemate measure`: making, signing and checking ID blocks.

use super::Launch;
use crate::files::{may_write, print_json, put_file, read_file};
use crate::numbers::integer;
use crate::out::outln;
use crate::signing::{identifier, key};
use crate::{Failure, Outcome};
use casemate_attestation::digest::Digest384;
use casemate_attestation::guest_policy;
use casemate_attestation::hex::encode;
use casemate_attestation::idblock::{self, IdBlock};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What goes into an ID block, and where it goes.
#[derive(Debug, Args)]
pub struct IdBlockArgs {
    /// Write an ID block (96 bytes) for the digest to this file; `{vcpus}` in its name stands for
    /// their number.
    #[arg(
        long,
        value_name = "FILE",
        requires = "id_auth",
        requires = "id_key",
        conflicts_with = "check_id_block"
    )]
    id_block: Option<PathBuf>,
    /// Write the ID authentication structure (4096 bytes) to this file.
    #[arg(long, value_name = "FILE", requires = "id_block")]
    id_auth: Option<PathBuf>,
    /// Private key that signs the ID block: P-384, PKCS#8 or SEC1, PEM or DER.
    #[arg(long, value_name = "PEM", requires = "id_block")]
    id_key: Option<PathBuf>,
    /// Private key that signs the ID key: P-384, PKCS#8 or SEC1, PEM or DER.
    #[arg(long, value_name = "PEM", requires = "id_block")]
    author_key: Option<PathBuf>,
    /// Guest policy of the launch [default: that of the configuration, plan or IGVM file, else
    /// 0x30000].
    #[arg(long, value_name = "N", value_parser = integer, requires = "id_block")]
    guest_policy: Option<u64>,
    /// Family identifier, 32 hexadecimal digits.
    #[arg(
        long,
        value_name = "HEX",
        default_value = "00000000000000000000000000000000",
        requires = "id_block"
    )]
    family_id: String,
    /// Image identifier, 32 hexadecimal digits.
    #[arg(
        long,
        value_name = "HEX",
        default_value = "00000000000000000000000000000000",
        requires = "id_block"
    )]
    image_id: String,
    /// Security version of the guest.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "id_block")]
    guest_svn: u32,
    /// Check this ID block (96 bytes or their base64) against --check-id-auth instead of measuring.
    #[arg(long, value_name = "FILE", requires = "check_id_auth")]
    check_id_block: Option<PathBuf>,
    /// ID authentication structure to check the ID block with.
    #[arg(long, value_name = "FILE", requires = "check_id_block")]
    check_id_auth: Option<PathBuf>,
}

/// The digests of the keys used.
pub(super) struct Created {
    pub(super) id_key_digest: Digest384,
    pub(super) author_key_digest: Option<Digest384>,
}

/// Stands for the number of vCPUs in the name of a file, where there is one file for each.
const COUNT: &str = "{vcpus}";

impl IdBlockArgs {
    /// Whether an ID block is to be checked, and nothing measured.
    pub(super) fn is_check(&self) -> bool {
        self.check_id_block.is_some()
    }
}

/// The file of one number of vCPUs.
fn named(path: &Path, launch: &Launch, several: bool) -> Result<PathBuf, Failure> {
    let (Some(text), Some(vcpus)) = (path.to_str(), launch.vcpus) else {
        return Ok(path.to_owned());
    };
    if several && !text.contains(COUNT) {
        let text = format!(
            "{text:?}: each number of vCPUs has a file of its own, write {COUNT} into its name"
        );
        return Err(Failure::BadInput(text));
    }
    Ok(text.replace(COUNT, &vcpus.to_string()).into())
}

/// Writes ID block and ID authentication of a launch, when asked for; it may be one of `several`.
pub(super) fn create(
    args: &IdBlockArgs,
    launch: &Launch,
    several: bool,
) -> Result<Option<Created>, Failure> {
    let (Some(block_path), Some(auth_path), Some(key_path)) =
        (&args.id_block, &args.id_auth, &args.id_key)
    else {
        return Ok(None);
    };
    let block_path = &named(block_path, launch, several)?;
    let auth_path = &named(auth_path, launch, several)?;
    if block_path == auth_path {
        let text = format!("--id-block and --id-auth are one file: {}", block_path.display());
        return Err(Failure::BadInput(text));
    }
    let policy = agreed_policy(args.guest_policy, launch.policy)?;
    let block = IdBlock {
        launch_digest: launch.digest,
        family_id: identifier("--family-id", &args.family_id)?,
        image_id: identifier("--image-id", &args.image_id)?,
        guest_svn: args.guest_svn,
        policy,
    };
    let id_key = key(key_path)?;
    let author = args.author_key.as_deref().map(key).transpose()?;
    let auth = idblock::authenticate(&block, &id_key, author.as_ref())
        .map_err(|error| Failure::Failed(error.to_string()))?;
    // Both before either is written.
    may_write("--id-block", block_path)?;
    may_write("--id-auth", auth_path)?;
    put_file(block_path, &block.to_bytes())?;
    put_file(auth_path, &auth)?;
    Ok(Some(Created {
        id_key_digest: id_key.digest(),
        author_key_digest: author.map(|author| author.digest()),
    }))
}

/// The policy of an ID block: that of the launch. The firmware compares them.
fn agreed_policy(given: Option<u64>, launched: Option<u64>) -> Result<u64, Failure> {
    let policy = given.or(launched).unwrap_or(guest_policy::DEFAULT);
    let refused = |why: &str| Err(Failure::BadInput(format!("--guest-policy {policy:#x}: {why}")));
    match launched {
        Some(launched) if launched != policy => {
            refused(&format!("the launch has {launched:#x}, and the firmware compares them"))
        }
        _ if policy & guest_policy::RESERVED_ONE == 0 => {
            refused("bit 17 must be one, the firmware starts no such guest")
        }
        _ => Ok(policy),
    }
}

/// Checks an ID block with its authentication.
pub(super) fn check(args: &IdBlockArgs, as_json: bool) -> Outcome {
    let (Some(block_path), Some(auth_path)) = (&args.check_id_block, &args.check_id_auth) else {
        return Err(Failure::BadInput("nothing to measure or check".to_owned()));
    };
    let block = idblock::from_file(read_file(block_path)?, idblock::ID_BLOCK_SIZE);
    let auth = idblock::from_file(read_file(auth_path)?, idblock::ID_AUTH_SIZE);
    let fields = IdBlock::parse(&block)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", block_path.display())))?;
    // Bytes 4 to 8 of the authentication say whether there is an author key.
    let author = auth.get(4..8).is_some_and(|algorithm| algorithm != [0; 4]);
    let digests = idblock::check(&block, &auth, author)
        .map_err(|error| Failure::Failed(format!("{}: {error}", auth_path.display())))?;
    if as_json {
        print_json(&json!({
            "launch-digest": encode(&fields.launch_digest),
            "family-id": encode(&fields.family_id),
            "image-id": encode(&fields.image_id),
            "guest-svn": fields.guest_svn,
            "policy": format!("{:#x}", fields.policy),
            "id-key-digest": encode(&digests.id_key),
            "author-key-digest": digests.author_key.map(|digest| encode(&digest)),
        }));
        return Ok(());
    }
    outln!("the ID block is signed");
    outln!("launch digest     {}", encode(&fields.launch_digest));
    outln!("family id         {}", encode(&fields.family_id));
    outln!("image id          {}", encode(&fields.image_id));
    outln!("guest svn         {}", fields.guest_svn);
    outln!("policy            {:#x}", fields.policy);
    outln!("ID key digest     {}", encode(&digests.id_key));
    if let Some(author) = digests.author_key {
        outln!("author key digest {}", encode(&author));
    }
    Ok(())
}
