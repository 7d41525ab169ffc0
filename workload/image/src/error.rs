//! Why no image can be made.

use casemate_foreign_text as foreign;
use std::io;

/// Why no image can be made of an input.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of this machine cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// Which file, and what was done with it.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The source is no file that can be read.
    #[error("{0}")]
    Source(String),
    /// The stream is not what it claims to be.
    #[error("byte {at} of the tar stream: {why}")]
    Tar {
        /// Offset of the header, in the uncompressed stream.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// An entry of a layer, or a file of a folder, cannot be part of an image.
    #[error("{}: {why}", foreign::bytes(path))]
    Entry {
        /// Its path, as the layer has it.
        path: Vec<u8>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than an image may have.
    #[error("the image would have more than {limit} {of}")]
    Limit {
        /// How many there may be.
        limit: u64,
        /// Of what there are too many.
        of: &'static str,
    },
    /// Compressed data cannot be read back.
    #[error("a compressed layer: {0}")]
    Compression(#[source] io::Error),
    /// A kernel, a module or their package is not what a guest needs.
    #[error("{file}: {why}")]
    Kernel {
        /// Which file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// What the image is to run cannot be run in a guest.
    #[error("the workload cannot be run: {0}")]
    Workload(String),
    /// The manifest that would describe it is none.
    #[error(transparent)]
    Manifest(#[from] casemate_manifest::ManifestError),
    /// An image layout, archive or its documents are not what the specification says.
    #[error("{file}: {why}")]
    Layout {
        /// The document or blob, by its name in the layout.
        file: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ImageError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn entry(path: &[u8], why: &'static str) -> Self {
        Self::Entry { path: path.to_vec(), why }
    }

    pub(crate) fn kernel(file: impl AsRef<[u8]>, why: impl Into<String>) -> Self {
        Self::Kernel { file: foreign::bytes(file.as_ref()).to_string(), why: why.into() }
    }

    /// Whether the user's input is at fault, and not this machine.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Source(_)
            | Self::Tar { .. }
            | Self::Entry { .. }
            | Self::Limit { .. }
            | Self::Compression(_)
            | Self::Kernel { .. }
            | Self::Workload(_)
            | Self::Manifest(_)
            | Self::Layout { .. } => true,
        }
    }
}
