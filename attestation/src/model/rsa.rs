//! RSA-4096 keys for the MODEL root: generation is what `ring` does not do.

use super::ModelError;
use crypto_bigint::{Limb, NonZero, Odd, U2048, Uint};
use crypto_primes::{Flavor, is_prime};
use ring::rand::{SecureRandom, SystemRandom};
use ring::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::RSA_PSS_SHA384;

/// The public exponent, F4; AMD's keys have it as well.
const EXPONENT: u32 = 65537;
/// Candidates tried from one random start before another is drawn.
const SPAN: u32 = 20_000;

/// An RSA-4096 key with its primes, which are its stored form.
pub(super) struct RsaKey {
    p: U2048,
    q: U2048,
    pair: KeyPair,
}

impl RsaKey {
    pub(super) fn generate() -> Result<Self, ModelError> {
        loop {
            // Two primes at a time, one a core: finding them is nearly all of the work.
            let (a, b) = std::thread::scope(|scope| {
                let other = scope.spawn(prime);
                let mine = prime();
                (mine, other.join().unwrap_or(Err(ModelError::Random)))
            });
            let (a, b) = (a?, b?);
            // Equal primes happen with no probability worth a number, and would make a modulus that
            // is a square.
            if a != b {
                return Self::from_primes(a.max(b), a.min(b));
            }
        }
    }

    pub(super) fn from_bytes(p: &[u8], q: &[u8]) -> Result<Self, ModelError> {
        if p.len() != 256 || q.len() != 256 {
            return Err(ModelError::State("a prime has 256 bytes".to_owned()));
        }
        Self::from_primes(U2048::from_be_slice(p), U2048::from_be_slice(q))
    }

    pub(super) fn primes(&self) -> [Vec<u8>; 2] {
        [bytes(&self.p), bytes(&self.q)]
    }

    fn from_primes(p: U2048, q: U2048) -> Result<Self, ModelError> {
        let refuse = |why: &str| ModelError::Key(why.to_owned());
        let odd_p: Odd<U2048> = Option::from(Odd::new(p)).ok_or(refuse("p is even"))?;
        let (p1, q1) = (p.wrapping_sub(&U2048::ONE), q.wrapping_sub(&U2048::ONE));
        let (low, high) = p.widening_mul(&q);
        // `ring` wants all parts of a private key and computes none of them (RFC 8017, section
        // 3.2).
        let n = [bytes(&high), bytes(&low)].concat();
        let (low, high) = p1.widening_mul(&q1);
        let phi = [bytes(&high), bytes(&low)].concat();
        let q_inverse: U2048 =
            Option::from(q.invert_odd_mod(&odd_p)).ok_or(refuse("q has no inverse"))?;
        let invert = |modulus: &[u8]| exponent_inverse(modulus).ok_or(refuse("e has no inverse"));
        let components = KeyPairComponents {
            public_key: PublicKeyComponents { n, e: vec![1, 0, 1] },
            d: invert(&phi)?,
            p: bytes(&p),
            q: bytes(&q),
            dP: invert(&bytes(&p1))?,
            dQ: invert(&bytes(&q1))?,
            qInv: trimmed(&bytes(&q_inverse)),
        };
        let pair = KeyPair::from_components(&components).map_err(|e| refuse(&e.to_string()))?;
        Ok(Self { p, q, pair })
    }

    /// DER of the PKCS #1 RSAPublicKey.
    pub(super) fn public(&self) -> &[u8] {
        self.pair.public().as_ref()
    }

    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ModelError> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| ModelError::Random)?;
        Ok(signature)
    }
}

/// A random prime of 2048 bits with the two highest bits set, not 1 modulo the exponent.
fn prime() -> Result<U2048, ModelError> {
    // Trial division by the primes below 6000 takes out nearly nine of ten odd candidates before
    // the costly test.
    let sieve: Vec<u32> = (3u32..6000).step_by(2).filter(|n| small_prime(*n)).collect();
    let rng = SystemRandom::new();
    loop {
        let mut start = [0u8; 256];
        rng.fill(&mut start).map_err(|_| ModelError::Random)?;
        // The two highest bits set make the product of two such primes 4096 bits long; the lowest
        // makes it odd.
        let [first, .., last] = &mut start;
        *first |= 0xC0;
        *last |= 1;
        let start = U2048::from_be_slice(&start);
        let residues: Vec<(u32, u32)> =
            sieve.iter().map(|prime| (*prime, remainder(&start, *prime))).collect();
        // From one random start upwards. The remainders of the start are computed once, and those
        // of a candidate follow by addition.
        for step in (0..SPAN).step_by(2) {
            if residues.iter().any(|(prime, rest)| rest.wrapping_add(step) % prime == 0) {
                continue;
            }
            let candidate = start.wrapping_add(&U2048::from(step));
            // p − 1 must not be a multiple of e, or e has no inverse; and adding the step must
            // not have wrapped.
            let fits =
                remainder(&candidate, EXPONENT) != 1 && candidate > start.wrapping_shr_vartime(1);
            if fits && is_prime(Flavor::Any, &candidate) {
                return Ok(candidate);
            }
        }
    }
}

fn small_prime(n: u32) -> bool {
    (3..).step_by(2).take_while(|d: &u32| d.wrapping_mul(*d) <= n).all(|d| !n.is_multiple_of(d))
}

fn remainder(value: &U2048, divisor: u32) -> u32 {
    let Some(divisor) = Option::<NonZero<Limb>>::from(NonZero::new(Limb::from(divisor))) else {
        return 0;
    };
    u32::try_from(value.rem_limb(divisor).0).unwrap_or(0)
}

/// The inverse of the exponent modulo `modulus`: (k * modulus + 1) / e with the k that makes it
/// whole.
fn exponent_inverse(modulus: &[u8]) -> Option<Vec<u8>> {
    let e = u64::from(EXPONENT);
    let rest = modulus.iter().fold(0u64, |rest, byte| (rest << 8 | u64::from(*byte)) % e);
    // Wanted is k with k · modulus ≡ −1 (mod e), so that e divides k · modulus + 1. Fermat's
    // little theorem gives the inverse by a power, computed by squaring.
    // e is prime: the inverse of -rest is its power e - 2.
    let base = e.checked_sub(rest)? % e;
    if base == 0 {
        return None;
    }
    let mut k = 1u64;
    let mut square = base;
    let mut power = e - 2;
    while power > 0 {
        if power & 1 == 1 {
            k = k.wrapping_mul(square) % e;
        }
        square = square.wrapping_mul(square) % e;
        power >>= 1;
    }
    // Little-endian multiplication by k and addition of 1, then long division by e.
    let mut carry = 1u64;
    let mut product: Vec<u8> = Vec::with_capacity(modulus.len().saturating_add(4));
    for byte in modulus.iter().rev().chain(&[0; 4]) {
        carry = carry.wrapping_add(u64::from(*byte).wrapping_mul(k));
        product.push(carry.to_le_bytes()[0]);
        carry >>= 8;
    }
    let mut rest = 0u64;
    let mut quotient = Vec::with_capacity(product.len());
    for byte in product.iter().rev() {
        rest = rest << 8 | u64::from(*byte);
        quotient.push((rest / e).to_le_bytes()[0]);
        rest %= e;
    }
    (rest == 0).then(|| trimmed(&quotient))
}

fn bytes<const LIMBS: usize>(value: &Uint<LIMBS>) -> Vec<u8> {
    value.as_words().iter().rev().flat_map(|word| word.to_be_bytes()).collect()
}

fn trimmed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().skip_while(|byte| **byte == 0).copied().collect()
}
