//! What is known of a container image.

use casemate_image::oci::Process;
use casemate_image::overlay::Stack;
use casemate_image::{ImageError, Spool, users};
use casemate_pod::Layer;

/// Longest `/etc/passwd` and `/etc/group`.
const MAX_USERS: u64 = 1 << 20;

/// An image, read.
#[derive(Debug)]
pub struct Image {
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// What it says of how it is run.
    pub process: Process,
    stack: Stack,
    passwd: String,
    group: String,
}

impl Image {
    /// An image of these layers. `spool` has the contents of their files.
    ///
    /// # Errors
    /// [`ImageError`] of the machine.
    pub fn new(
        layers: Vec<Layer>,
        process: Process,
        stack: Stack,
        spool: &Spool,
    ) -> Result<Self, ImageError> {
        let text = |path: &[u8]| {
            let bytes = stack.file(path, MAX_USERS, spool)?.unwrap_or_default();
            Ok::<_, ImageError>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (passwd, group) = (text(b"/etc/passwd")?, text(b"/etc/group")?);
        Ok(Self { layers, process, stack, passwd, group })
    }

    /// A user as the image's own files have it.
    ///
    /// # Errors
    /// [`ImageError::Workload`] for a name that they do not have.
    pub fn user(&self, written: &str) -> Result<users::Found, ImageError> {
        users::find(written, &self.passwd, &self.group)
    }

    /// Whether a path leads to a program.
    #[must_use]
    pub fn runs(&self, path: &str) -> bool {
        self.stack.runs(path.as_bytes())
    }
}
