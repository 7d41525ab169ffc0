//! A pod's initdata, from its annotation.

use crate::error::RuntimeError;
use base64ct::{Base64, Encoding};
use casemate_initdata::{Initdata, MAX_SIZE};
use casemate_pod::{MEMBER, Manifest};
use flate2::read::GzDecoder;
use std::io::Read;

/// The annotation: initdata, gzip, base64.
pub const ANNOTATION: &str = "casemate.dev/initdata";
/// Longest annotation: gzip can make little of a text longer, and base64 four bytes of three.
const MAX_ANNOTATION: usize = 2 * MAX_SIZE;

/// A pod's initdata as the guest will have it, and the manifest in it.
///
/// The runtime believes the manifest as little as anybody else's: the guest compares. It is read
/// here for names, and so that a pod that no guest would run is refused before one is started.
#[derive(Debug)]
pub struct PodData {
    /// The text whose hash is HOST_DATA.
    pub text: String,
    /// SHA-256 of it.
    pub host_data: [u8; 32],
    /// The manifest in it.
    pub manifest: Manifest,
}

/// Reads the annotation's value.
pub fn read(annotation: Option<&str>) -> Result<PodData, RuntimeError> {
    let refused = |what: String| RuntimeError::Pod(what);
    let annotation = annotation.ok_or_else(|| {
        refused(format!(
            "nothing binds this pod: it has no annotation {ANNOTATION}, which `casemate pod \
             manifest` writes (and containerd passes on pods' annotations that its option \
             pod_annotations names)"
        ))
    })?;
    if annotation.len() > MAX_ANNOTATION {
        return Err(refused(format!(
            "annotation {ANNOTATION} has more than {MAX_ANNOTATION} bytes"
        )));
    }
    let packed = Base64::decode_vec(annotation)
        .map_err(|_| refused(format!("annotation {ANNOTATION} is no base64")))?;
    let mut text = String::new();
    let most = u64::try_from(MAX_SIZE).unwrap_or(0);
    let read = GzDecoder::new(&packed[..]).take(most + 1).read_to_string(&mut text);
    read.map_err(|e| refused(format!("annotation {ANNOTATION} is no gzip of a text: {e}")))?;
    let initdata =
        Initdata::read(&text).map_err(|e| refused(format!("annotation {ANNOTATION}: {e}")))?;
    let member = initdata.member(MEMBER).ok_or_else(|| {
        refused(format!("annotation {ANNOTATION}: it has no member {MEMBER}: it binds no pod"))
    })?;
    let manifest =
        Manifest::read(member).map_err(|e| refused(format!("the pod's manifest: {e}")))?;
    let host_data = *initdata.host_data();
    Ok(PodData { host_data, manifest, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(text: &[u8]) -> String {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(text).unwrap();
        Base64::encode_string(&gzip.finish().unwrap())
    }

    fn sentence(annotation: Option<&str>) -> String {
        read(annotation).unwrap_err().to_string()
    }

    #[test]
    fn what_binds_no_pod_is_refused_with_what_to_do() {
        assert!(sentence(None).contains("casemate pod manifest"));
        assert!(sentence(Some("?")).contains("base64"));
        assert!(sentence(Some("AAAA")).contains("gzip"));
        assert!(sentence(Some(&"A".repeat(MAX_ANNOTATION + 4))).contains("bytes"));
        assert!(sentence(Some(&packed(b"x = 1"))).contains("initdata"));
        let empty = b"version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n";
        assert!(sentence(Some(&packed(empty))).contains("no member pod.toml"));
        let other = b"version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"pod.toml\" = \"x\"\n";
        assert!(sentence(Some(&packed(other))).contains("the pod's manifest"));
    }

    #[test]
    fn what_unpacks_to_more_than_initdata_can_be_costs_no_more() {
        // 64 MiB of zeros are 64 KiB of gzip.
        assert!(sentence(Some(&packed(&vec![b' '; 64 << 20]))).contains("bytes"));
    }
}
