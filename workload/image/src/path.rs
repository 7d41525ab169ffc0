//! Paths of a layer: bytes that are taken apart once, and never given to this machine's kernel.

use crate::ImageError;

/// Longest name of one file, in bytes: Linux's NAME_MAX, and EROFS's.
pub const NAME_MAX: usize = 255;
/// Longest path, in bytes: Linux's PATH_MAX without its final zero.
pub const PATH_MAX: usize = 4095;

/// One component of a path: neither empty, nor `.` nor `..`, without a slash or a zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The bytes of the name, without a zero at the end.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A name, where these bytes can be one.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let wrong = bytes.is_empty()
            || bytes.len() > NAME_MAX
            || matches!(bytes, b"." | b"..")
            || bytes.iter().any(|byte| matches!(byte, 0 | b'/'));
        (!wrong).then(|| Self(bytes.into()))
    }
}

/// A component as a symbolic link or a layer writes it: up, or down by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `..`, the folder above, or the root's own.
    Up,
    /// Into the folder, or to the file, of this name.
    Down(Name),
}

/// The components of a path of a layer: `./a//b/` and `/a/b` are `a`, `b`. The root is none.
///
/// # Errors
/// [`ImageError::Entry`] for `..`, which a layer needs for nothing but to leave the place it is
/// unpacked in; for a name or a path that is too long, and for a zero in it.
pub fn names(path: &[u8]) -> Result<Vec<Name>, ImageError> {
    if path.len() > PATH_MAX {
        return Err(ImageError::entry(path, "the path has more than 4095 bytes"));
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts
        .map(|part| match part {
            b".." => Err(ImageError::entry(path, "`..` leads out of the image")),
            part => Name::new(part).ok_or_else(|| {
                ImageError::entry(path, "a name has more than 255 bytes, or a zero byte")
            }),
        })
        .collect()
}

/// The steps of a symbolic link's target, and whether it begins at the root.
///
/// # Errors
/// As [`names`], but `..` is a step.
pub fn steps(target: &[u8]) -> Result<(bool, Vec<Step>), ImageError> {
    let parts = target.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let steps = parts.map(|part| match part {
        b".." => Ok(Step::Up),
        part => Name::new(part).map(Step::Down).ok_or_else(|| {
            ImageError::entry(target, "a name has more than 255 bytes, or a zero byte")
        }),
    });
    Ok((target.starts_with(b"/"), steps.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_names_however_it_is_written() {
        let of = |path: &[u8]| {
            let names = names(path).unwrap();
            names.iter().map(|n| n.bytes().to_vec()).collect::<Vec<_>>()
        };
        for same in [&b"a/b"[..], b"/a/b", b"./a/./b/", b"//a//b//"] {
            assert_eq!(of(same), [b"a".to_vec(), b"b".to_vec()]);
        }
        assert!(of(b"./").is_empty() && of(b"/").is_empty() && of(b"").is_empty());
        assert_eq!(of(b"a\nb\xff"), [b"a\nb\xff".to_vec()]);
    }

    #[test]
    fn a_path_that_leads_out_or_is_no_path_is_refused() {
        for wrong in [&b"../a"[..], b"a/../../b", b"a/..", b"a\0b", &[b'x'; 256], &[b'/'; 4096]] {
            assert!(names(wrong).is_err());
        }
        assert!(names(&[b'x'; 255]).is_ok());
    }
}
