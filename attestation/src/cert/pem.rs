//! Certificates in whatever a file holds: one DER, or PEM blocks with text around them.

use super::{CertError, Certificate};
use base64ct::{Base64, Encoding};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// No bundle of this hierarchy has more.
const MAX_CERTIFICATES: usize = 64;

/// All certificates in `bytes`: a single DER certificate, or any number of PEM blocks.
///
/// # Errors
/// When it is neither, a block is damaged, or there are more than 64.
pub fn certificates_in(bytes: &[u8]) -> Result<Vec<Certificate>, CertError> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![Certificate::from_der(bytes)?]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CertError::Pem("not text"))?;
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (body, after) = after.split_once(END).ok_or(CertError::Pem("no END line"))?;
        if found.len() == MAX_CERTIFICATES {
            return Err(CertError::Pem("more than 64 certificates"));
        }
        found.push(Certificate::from_der(&decode(body)?)?);
        rest = after;
    }
    if found.is_empty() { Err(CertError::Pem("no certificate in it")) } else { Ok(found) }
}

fn decode(body: &str) -> Result<Vec<u8>, CertError> {
    let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Base64::decode_vec(&packed).map_err(|_| CertError::Pem("not base64"))
}
