//! SHA-384 of several pages at once, each in a lane of its own of the processor's vectors.
//!
//! Principle: pages are independent and of one length, so N of them take every round in step: with
//! AVX-512 eight, with AVX2 four. Which of them this processor has is asked at run time.
//! Source: FIPS 180-4, sections 4.1.3, 4.2.3, 5.1.2, 5.3.4 and 6.4.2. Sums of vectors wrap.
//! Limit: 4 KiB pages only, so the padding is one constant block.

use super::{Digest384, PAGE_SIZE, sha384};
use fearless_simd::{Level, Simd, SimdBase};

/// Bytes of a 64-bit word and of a block of 16 words.
const WORD: usize = 8;
const BLOCK: usize = 16 * WORD;

/// SHA-384 of each page, in order; none if this processor has vectors of two words or fewer, which
/// gain nothing.
pub(super) fn sha384_pages(pages: &[[u8; PAGE_SIZE]]) -> Option<Vec<Digest384>> {
    match Level::new() {
        Level::Avx512(simd) => Some(in_lanes::<_, 8>(simd, pages)),
        Level::Avx2(simd) => Some(in_lanes::<_, 4>(simd, pages)),
        _ => None,
    }
}

/// Hashes `N` pages at a time, and what is left over one by one.
fn in_lanes<S: Simd, const N: usize>(simd: S, pages: &[[u8; PAGE_SIZE]]) -> Vec<Digest384>
where
    S::u64s: SimdBase<S, Array = [u64; N]>,
{
    let (groups, rest) = pages.as_chunks::<N>();
    let mut digests = Vec::with_capacity(pages.len());
    for group in groups {
        digests.extend(simd.vectorize(
            #[inline(always)]
            || sha384_group(simd, group),
        ));
    }
    digests.extend(rest.iter().map(|page| sha384(page)));
    digests
}

// What follows must be inlined into the closure above, which alone is compiled for the vectors.

#[inline(always)]
fn sha384_group<S: Simd, const N: usize>(simd: S, pages: &[[u8; PAGE_SIZE]; N]) -> [Digest384; N]
where
    S::u64s: SimdBase<S, Array = [u64; N]>,
{
    let mut state = INITIAL.map(|word| S::u64s::splat(simd, word));
    for block in 0..PAGE_SIZE / BLOCK {
        // A block takes 16 words of each page. They are read N words at a time, as N rows of N
        // words, and turned, so that one vector holds the same word of every page.
        let mut words = [S::u64s::splat(simd, 0); 16];
        for (part, words) in words.as_chunks_mut::<N>().0.iter_mut().enumerate() {
            let at = block * (16 / N) + part;
            let rows = pages.each_ref().map(|page| {
                let row = page.as_chunks::<WORD>().0.as_chunks::<N>().0.get(at);
                S::u64s::load_array(simd, row.map_or([0; N], |row| row.map(u64::from_be_bytes)))
            });
            *words = transposed::<S, N>(rows);
        }
        compress::<S>(&mut state, words);
    }
    // FIPS 180-4, 5.1.2: a bit 1, zeros, and the length in bits as 128 bits. A page fills 32 blocks
    // to the last byte, so the padding is a block of its own, the same for all.
    let [end, length] = [1 << 63, PAGE_SIZE as u64 * 8];
    let padding = [end, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length];
    compress::<S>(&mut state, padding.map(|word| S::u64s::splat(simd, word)));

    let mut digests = [[0; 48]; N];
    // SHA-384 is SHA-512 from other initial values, of which the last two words are not given out
    // (6.5).
    for (at, word) in state.iter().take(48 / WORD).enumerate() {
        for (digest, word) in digests.iter_mut().zip(word.to_array()) {
            if let Some(to) = digest.as_chunks_mut::<WORD>().0.get_mut(at) {
                *to = word.to_be_bytes();
            }
        }
    }
    digests
}

/// From a row of words for each page to a vector of all pages' for each word.
#[inline(always)]
fn transposed<S: Simd, const N: usize>(mut rows: [S::u64s; N]) -> [S::u64s; N] {
    // A perfect shuffle of the rows: `zip_low` and `zip_high` interleave the halves of two vectors.
    // Each pass interleaves the upper half of the rows with the lower; after log2(N) they have
    // turned.
    for _ in 0..N.ilog2() {
        let (low, high) = rows.split_at(N / 2);
        let mut zipped = rows;
        for ((to, a), b) in zipped.as_chunks_mut::<2>().0.iter_mut().zip(low).zip(high) {
            *to = [a.zip_low(*b), a.zip_high(*b)];
        }
        rows = zipped;
    }
    rows
}

#[inline(always)]
fn compress<S: Simd>(state: &mut [S::u64s; 8], mut words: [S::u64s; 16]) {
    let mut rounded = *state;
    // Sixteen rounds written out leave every word in the register it was in: a loop would move them
    // all.
    macro_rules! rounds {
        ($($key:ident)*) => {
            for [$($key),*] in ROUND_KEYS.as_chunks::<16>().0 {
                $((rounded, words) = round::<S>(rounded, words, *$key);)*
            }
        };
    }
    rounds!(k0 k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12 k13 k14 k15);
    // The working variables are added to the state that the block began with (6.4.2, step 4).
    for (to, from) in state.iter_mut().zip(rounded) {
        *to += from;
    }
}

/// One round, and the word that takes the place of the one it used, 16 rounds on.
#[inline(always)]
fn round<S: Simd>(
    state: [S::u64s; 8],
    words: [S::u64s; 16],
    key: u64,
) -> ([S::u64s; 8], [S::u64s; 16]) {
    let [a, b, c, d, e, f, g, h] = state;
    let [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15] = words;
    // Names as in FIPS 180-4, 4.1.3: Σ1, Ch, Σ0, Maj, σ0, σ1. The schedule is kept as the 16
    // words that are still wanted, of which w0 is used now and w16 takes its place.
    let sum1 = rotated::<S>(e, 14) ^ rotated::<S>(e, 18) ^ rotated::<S>(e, 41);
    let choice = (e & f) ^ (!e & g);
    let t1 = h + sum1 + choice + (w0 + key);
    let sum0 = rotated::<S>(a, 28) ^ rotated::<S>(a, 34) ^ rotated::<S>(a, 39);
    let majority = (a & b) ^ (a & c) ^ (b & c);
    let sigma0 = rotated::<S>(w1, 1) ^ rotated::<S>(w1, 8) ^ (w1 >> 7);
    let sigma1 = rotated::<S>(w14, 19) ^ rotated::<S>(w14, 61) ^ (w14 >> 6);
    let w16 = w0 + sigma0 + w9 + sigma1;
    (
        [t1 + sum0 + majority, a, b, c, d + t1, e, f, g],
        [w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15, w16],
    )
}

#[inline(always)]
fn rotated<S: Simd>(word: S::u64s, right: u32) -> S::u64s {
    (word >> right) | (word << (64 - right))
}

/// The fractional parts of the square roots of the 9th to 16th primes.
#[rustfmt::skip]
const INITIAL: [u64; 8] = [
    0xcbbb_9d5d_c105_9ed8, 0x629a_292a_367c_d507, 0x9159_015a_3070_dd17, 0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31, 0x8eb4_4a87_6858_1511, 0xdb0c_2e0d_64f9_8fa7, 0x47b5_481d_befa_4fa4,
];

/// The fractional parts of the cube roots of the first 80 primes.
#[rustfmt::skip]
const ROUND_KEYS: [u64; 80] = [
    0x428a_2f98_d728_ae22, 0x7137_4491_23ef_65cd, 0xb5c0_fbcf_ec4d_3b2f, 0xe9b5_dba5_8189_dbbc,
    0x3956_c25b_f348_b538, 0x59f1_11f1_b605_d019, 0x923f_82a4_af19_4f9b, 0xab1c_5ed5_da6d_8118,
    0xd807_aa98_a303_0242, 0x1283_5b01_4570_6fbe, 0x2431_85be_4ee4_b28c, 0x550c_7dc3_d5ff_b4e2,
    0x72be_5d74_f27b_896f, 0x80de_b1fe_3b16_96b1, 0x9bdc_06a7_25c7_1235, 0xc19b_f174_cf69_2694,
    0xe49b_69c1_9ef1_4ad2, 0xefbe_4786_384f_25e3, 0x0fc1_9dc6_8b8c_d5b5, 0x240c_a1cc_77ac_9c65,
    0x2de9_2c6f_592b_0275, 0x4a74_84aa_6ea6_e483, 0x5cb0_a9dc_bd41_fbd4, 0x76f9_88da_8311_53b5,
    0x983e_5152_ee66_dfab, 0xa831_c66d_2db4_3210, 0xb003_27c8_98fb_213f, 0xbf59_7fc7_beef_0ee4,
    0xc6e0_0bf3_3da8_8fc2, 0xd5a7_9147_930a_a725, 0x06ca_6351_e003_826f, 0x1429_2967_0a0e_6e70,
    0x27b7_0a85_46d2_2ffc, 0x2e1b_2138_5c26_c926, 0x4d2c_6dfc_5ac4_2aed, 0x5338_0d13_9d95_b3df,
    0x650a_7354_8baf_63de, 0x766a_0abb_3c77_b2a8, 0x81c2_c92e_47ed_aee6, 0x9272_2c85_1482_353b,
    0xa2bf_e8a1_4cf1_0364, 0xa81a_664b_bc42_3001, 0xc24b_8b70_d0f8_9791, 0xc76c_51a3_0654_be30,
    0xd192_e819_d6ef_5218, 0xd699_0624_5565_a910, 0xf40e_3585_5771_202a, 0x106a_a070_32bb_d1b8,
    0x19a4_c116_b8d2_d0c8, 0x1e37_6c08_5141_ab53, 0x2748_774c_df8e_eb99, 0x34b0_bcb5_e19b_48a8,
    0x391c_0cb3_c5c9_5a63, 0x4ed8_aa4a_e341_8acb, 0x5b9c_ca4f_7763_e373, 0x682e_6ff3_d6b2_b8a3,
    0x748f_82ee_5def_b2fc, 0x78a5_636f_4317_2f60, 0x84c8_7814_a1f0_ab72, 0x8cc7_0208_1a64_39ec,
    0x90be_fffa_2363_1e28, 0xa450_6ceb_de82_bde9, 0xbef9_a3f7_b2c6_7915, 0xc671_78f2_e372_532b,
    0xca27_3ece_ea26_619c, 0xd186_b8c7_21c0_c207, 0xeada_7dd6_cde0_eb1e, 0xf57d_4f7f_ee6e_d178,
    0x06f0_67aa_7217_6fba, 0x0a63_7dc5_a2c8_98a6, 0x113f_9804_bef9_0dae, 0x1b71_0b35_131c_471b,
    0x28db_77f5_2304_7d84, 0x32ca_ab7b_40c7_2493, 0x3c9e_be0a_15c9_bebc, 0x431d_67c4_9c10_0d4c,
    0x4cc5_d4be_cb3e_42b6, 0x597f_299c_fc65_7e2a, 0x5fcb_6fab_3ad6_faec, 0x6c44_198c_4a47_5817,
];

#[cfg(test)]
mod tests {
    use super::{Digest384, PAGE_SIZE, in_lanes, sha384, sha384_pages};
    use crate::hex::encode;
    use fearless_simd::Level;

    type Hasher = fn(&[[u8; PAGE_SIZE]]) -> Vec<Digest384>;

    /// Every number of lanes that this processor has. Two it always has.
    fn ways() -> Vec<(&'static str, Hasher)> {
        let mut ways: Vec<(_, Hasher)> =
            vec![("2 lanes", |pages| in_lanes(Level::new().as_sse2().unwrap(), pages))];
        if Level::new().as_avx2().is_some() {
            ways.push(("4 lanes", |pages| in_lanes(Level::new().as_avx2().unwrap(), pages)));
        }
        if Level::new().as_avx512().is_some() {
            ways.push(("8 lanes", |pages| in_lanes(Level::new().as_avx512().unwrap(), pages)));
        }
        if sha384_pages(&[]).is_some() {
            ways.push(("lanes of its choice", |pages| sha384_pages(pages).unwrap()));
        }
        ways
    }

    #[test]
    fn any_number_of_pages_hashes_as_ring_hashes_each() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        };
        let pages: Vec<[u8; PAGE_SIZE]> =
            (0..19).map(|_| std::array::from_fn(|_| random())).collect();
        let expected: Vec<_> = pages.iter().map(|page| sha384(page)).collect();
        for (way, hash) in ways() {
            for count in 0..=pages.len() {
                assert_eq!(hash(&pages[..count]), expected[..count], "{way}, {count} pages");
            }
        }
    }

    #[test]
    fn known_pages_have_the_digests_that_other_programs_compute() {
        let pattern = std::array::from_fn(|at| (at * 7 % 251).to_le_bytes()[0]);
        let known = [
            (
                [0; PAGE_SIZE],
                "c0e59a3e3ffbd3b5c75428fb36432facabc745944296ff515f737c4fef4efc64586809f7a16f56354a1eaecf2aa8d774",
            ),
            (
                pattern,
                "4000421ff6a54e884cafa8dab1fc1b4fb94851f931c2836f445c211fcf8bad9f86b0794eeefb81f0c52971ecc2cbbd58",
            ),
        ];
        for (way, hash) in ways() {
            for (page, digest) in &known {
                for found in hash(&[*page; 9]) {
                    assert_eq!(encode(&found), *digest, "{way}");
                }
            }
        }
    }
}
