//! Why something is no result, or cannot be opened.

use std::io;

/// Why bytes are no request, no result or no contents of one.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// It begins with something else.
    #[error("it is no {0}")]
    Other(&'static str),
    /// Of another version.
    #[error("it is of version {0}, and this is a reader of version 1")]
    Version(u32),
    /// It ends before its end.
    #[error("it ends within {0}: it was cut off")]
    CutOff(&'static str),
    /// There is more of it than it says.
    #[error("something follows its end")]
    Longer,
    /// A value that none has.
    #[error("{0}")]
    Value(&'static str),
    /// None of its stanzas is for this key.
    #[error("it is sealed to other keys: the one given does not open it")]
    OtherKey,
    /// A piece is not what was sealed.
    #[error("its sealed part was changed, or sealed for another run or other inputs")]
    Changed,
    /// No random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
    /// The stream below.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An error of this crate in the form of a stream's, and back: [`io::Read`] knows no other.
pub(crate) fn wrap(error: ResultError) -> io::Error {
    match error {
        ResultError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// What [`wrap`] wrapped.
pub(crate) fn unwrap(error: io::Error) -> ResultError {
    match error.downcast::<ResultError>() {
        Ok(error) => error,
        Err(error) => ResultError::Io(error),
    }
}
