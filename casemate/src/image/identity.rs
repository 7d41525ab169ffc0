//! ID blocks of an image: its author's signature for each launch digest. Reports of a guest that
//! was launched with one name the key, the image and its security version, so that a policy may
//! admit whatever this author signs from a version on, and not one list of digests after another.

use crate::signing::{identifier, key};
use crate::{Failure, Outcome};
use casemate_attestation::digest::Digest384;
use casemate_attestation::guest_policy;
use casemate_attestation::hex::{encode, from_people};
use casemate_attestation::idblock::{
    self, ID_AUTH_SIZE, ID_BLOCK_SIZE, IdBlock, KeyDigests, OwnerKey,
};
use casemate_image::launch::{Launch, SignedId};
use clap::Args;
use std::path::PathBuf;

/// Who vouches for an image, and what they call it.
#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// Private key that signs an ID block for each launch digest: P-384, PKCS#8 or SEC1, PEM or
    /// DER. The signatures are in launch.json, which nobody measures: the image is the same
    /// without.
    #[arg(long, value_name = "FILE")]
    id_key: Option<PathBuf>,

    /// Private key that signs the ID key.
    #[arg(long, value_name = "FILE", requires = "id_key")]
    author_key: Option<PathBuf>,

    /// Family identifier, 32 hexadecimal digits.
    #[arg(long, value_name = "HEX", requires = "id_key")]
    family_id: Option<String>,

    /// Image identifier, 32 hexadecimal digits.
    #[arg(long, value_name = "HEX", requires = "id_key")]
    image_id: Option<String>,

    /// Security version of the image: count it up when an older one must not be believed any more.
    #[arg(long, value_name = "N", requires = "id_key")]
    guest_svn: Option<u32>,
}

/// What the ID blocks of an image have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// SHA-384 of the keys.
    pub(super) keys: KeyDigests,
    /// As in the block.
    pub(super) family_id: [u8; 16],
    /// As in the block.
    pub(super) image_id: [u8; 16],
    /// As in the block.
    pub(super) guest_svn: u32,
}

/// Who signs, and what: read before anything that takes time.
pub(super) struct Signer {
    id_key: OwnerKey,
    author: Option<OwnerKey>,
    family_id: [u8; 16],
    image_id: [u8; 16],
    guest_svn: u32,
}

impl IdentityArgs {
    /// Who signs; None without a key.
    pub(super) fn signer(&self) -> Result<Option<Signer>, Failure> {
        let Some(path) = &self.id_key else { return Ok(None) };
        let name = |option, text: &Option<String>| match text {
            Some(text) => identifier(option, text),
            None => Ok([0; 16]),
        };
        Ok(Some(Signer {
            id_key: key(path)?,
            author: self.author_key.as_deref().map(key).transpose()?,
            family_id: name("--family-id", &self.family_id)?,
            image_id: name("--image-id", &self.image_id)?,
            guest_svn: self.guest_svn.unwrap_or(0),
        }))
    }
}

impl Signer {
    /// Signs each digest of `launch`.
    pub(super) fn sign(&self, launch: &mut Launch, digests: &[(u32, Digest384)]) -> Outcome {
        for (one, (_, launch_digest)) in launch.digests.iter_mut().zip(digests) {
            let block = IdBlock {
                launch_digest: *launch_digest,
                family_id: self.family_id,
                image_id: self.image_id,
                guest_svn: self.guest_svn,
                // That of `run`, which takes no other for an image.
                policy: guest_policy::DEFAULT,
            };
            let auth = idblock::authenticate(&block, &self.id_key, self.author.as_ref());
            let auth = auth.map_err(|error| Failure::Failed(error.to_string()))?;
            // The rest of the page is zeros.
            let end = auth.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            one.id = Some(SignedId {
                block: encode(&block.to_bytes()),
                auth: encode(auth.get(..end).unwrap_or_default()),
            });
        }
        Ok(())
    }
}

/// An ID block as a launch takes it.
#[derive(Debug)]
pub struct Bytes {
    /// The block.
    pub block: Vec<u8>,
    /// Its authentication structure.
    pub auth: Vec<u8>,
    /// Whether there is an author key in it.
    pub author: bool,
}

/// The bytes of an ID block of launch.json.
pub fn bytes(id: &SignedId) -> Result<Bytes, Failure> {
    let wrong = || Failure::BadInput("launch.json: an ID block in it is none".into());
    let block = from_people(&id.block).ok_or_else(wrong)?;
    if block.len() != ID_BLOCK_SIZE {
        let why = format!("launch.json: an ID block has {ID_BLOCK_SIZE} bytes, one in it has not");
        return Err(Failure::BadInput(why));
    }
    let mut auth = from_people(&id.auth).filter(|a| a.len() <= ID_AUTH_SIZE).ok_or_else(wrong)?;
    auth.resize(ID_AUTH_SIZE, 0);
    // Bytes 4 to 8 are the author key's algorithm; zero for none.
    let author = auth.get(4..8).is_some_and(|algorithm| algorithm != [0; 4]);
    Ok(Bytes { block, auth, author })
}

/// What all ID blocks of an image say, each of which is signed for its digest; None without any.
///
/// # Errors
/// [`Failure`] for blocks that say different things, or whose signatures do not hold.
pub(super) fn check(launch: &Launch) -> Result<Option<Identity>, Failure> {
    let refused = |vcpus: u32, why: &dyn std::fmt::Display| {
        Failure::Failed(format!("launch.json: the ID block for {vcpus} vCPUs: {why}"))
    };
    let mut found: Option<Option<Identity>> = None;
    for one in &launch.digests {
        let identity = match &one.id {
            None => None,
            Some(id) => {
                let bytes = bytes(id)?;
                let keys = idblock::check(&bytes.block, &bytes.auth, bytes.author);
                let keys = keys.map_err(|e| refused(one.vcpus, &e))?;
                let block = IdBlock::parse(&bytes.block).map_err(|e| refused(one.vcpus, &e))?;
                if encode(&block.launch_digest) != one.digest {
                    return Err(refused(one.vcpus, &"it is for another launch digest"));
                }
                if block.policy != guest_policy::DEFAULT {
                    return Err(refused(one.vcpus, &"it is for another guest policy"));
                }
                let IdBlock { family_id, image_id, guest_svn, .. } = block;
                Some(Identity { keys, family_id, image_id, guest_svn })
            }
        };
        if *found.get_or_insert(identity) != identity {
            return Err(refused(one.vcpus, &"it says something else than that for 1 vCPU"));
        }
    }
    Ok(found.flatten())
}
