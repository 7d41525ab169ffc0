//! Numbers in options.

/// Reads a number in decimal or with 0x in hexadecimal.
pub(super) fn integer(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|error| error.to_string())
}

/// The same, of 32 bits.
pub(super) fn integer_32(text: &str) -> Result<u32, String> {
    integer(text)?.try_into().map_err(|_| "more than 32 bits".to_owned())
}
