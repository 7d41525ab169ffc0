//! Amounts as Kubernetes writes them (apimachinery's resource.Quantity), as far as memory has them.

const SUFFIXES: [(&str, u64); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// Bytes; None for what is none, or is written with a fraction or an exponent.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let suffix = text.strip_prefix(digits)?;
    let factor = SUFFIXES.iter().find(|(known, _)| *known == suffix).map(|(_, factor)| *factor)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The same in MiB, rounded up.
pub fn mebibytes(text: &str) -> Option<u32> {
    bytes(text).and_then(|bytes| u32::try_from(bytes.div_ceil(1 << 20)).ok())
}

#[cfg(test)]
mod tests {
    use super::{bytes, mebibytes};

    #[test]
    fn amounts_are_read_as_kubernetes_has_them() {
        assert_eq!(bytes("64Mi"), Some(64 << 20));
        assert_eq!(bytes("128M"), Some(128_000_000));
        assert_eq!(mebibytes("1Gi"), Some(1024));
        assert_eq!(mebibytes("1"), Some(1));
        for none in ["", "Mi", "1.5Gi", "1e3", "-1", "64MiB", "99999999999999999999", "16Ei"] {
            assert_eq!(bytes(none), None, "{none}");
        }
    }
}
